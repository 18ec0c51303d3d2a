// A client of a home inference node for Node.js.
//
//   npm install
//   node infer.mjs HOST:PORT                     what the node can do
//   node infer.mjs HOST:PORT ocr page.png …      a task on image files, all over one call
//   node infer.mjs HOST:PORT clip_classify topk=3 cat.jpg           with options of the task
//   node infer.mjs HOST:PORT compose entries=ocr,face_detection cat.jpg    several tasks at once
//
// Prints one line of JSON for each capability or file, of `compose` for each entry; exits with 1
// if anything failed. A file with a = in its name is written as ./a=b.jpg.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTO = fileURLToPath(
  new URL("../../proto/home_native/v1/ml_service.proto", import.meta.url),
);
const CHUNK = 512 * 1024; // larger payloads travel in pieces of this many bytes

const definition = loadSync(PROTO, { longs: Number, enums: String, defaults: true });
const { Inference } = grpc.loadPackageDefinition(definition).home_native.v1;

function connect(target) {
  return new Inference(target, grpc.credentials.createInsecure(), {
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.enable_http_proxy": 0,
  });
}

/** One capability for each service of the node. */
async function capabilities(client) {
  const answers = [];
  const deadline = Date.now() + 3_000;
  for await (const capability of client.StreamCapabilities({}, { deadline })) {
    answers.push(capability);
  }
  return answers;
}

/** The messages of one request: one, or several chunks. */
function* messages(correlationId, task, payload, meta) {
  const whole = { correlationId, task, payload, meta };
  if (payload.length <= CHUNK) {
    yield whole;
    return;
  }
  const total = Math.ceil(payload.length / CHUNK);
  for (let seq = 0; seq < total; seq++) {
    const offset = seq * CHUNK;
    yield { ...whole, payload: payload.subarray(offset, offset + CHUNK), seq, total, offset };
  }
}

/**
 * Runs a task on all files over one call; `report(file, answer, error, entry)` as answers come.
 * Of the task `compose` each entry has an answer or an error of its own; else `entry` is unset.
 */
async function inferAll(client, task, files, meta, report) {
  const stream = client.Infer();
  const open = new Map(files.map((file, index) => [String(index), { file, chunks: [] }]));
  const sending = (async () => {
    for (const [id, { file }] of [...open]) {
      let payload;
      try {
        payload = await readFile(file);
      } catch (error) {
        open.delete(id);
        report(file, null, error.message);
        continue;
      }
      for (const message of messages(id, task, payload, meta)) {
        if (!stream.write(message)) {
          await new Promise((resolve) => stream.once("drain", resolve));
        }
      }
    }
    stream.end();
  })();
  try {
    for await (const response of stream) {
      const request = open.get(response.correlationId);
      if (!request) continue;
      request.chunks.push(response.result);
      const { error, isFinal, meta: { entry } } = response;
      // Of several answers to one request only the last is final; each has all of its chunks.
      const isWhole = isFinal || error || (entry && response.seq + 1 >= response.total);
      if (!isWhole) continue;
      const result = Buffer.concat(request.chunks.splice(0));
      if (isFinal) open.delete(response.correlationId);
      report(request.file, error ? null : { ...response, result }, error?.message ?? null, entry);
    }
    await sending;
    for (const { file } of open.values()) report(file, null, "the node ended the call without an answer");
  } catch (error) {
    // A status ends the stream: it is the answer to all that have none yet.
    stream.cancel();
    for (const { file } of open.values()) report(file, null, error.details ?? error.message);
    open.clear();
  }
}

/** KEY=VALUE from among the arguments, and the rest: files. */
function optionsAndFiles(words) {
  const meta = {};
  const files = [];
  for (const word of words) {
    const option = /^([A-Za-z][\w.-]*)=(.*)$/s.exec(word);
    if (option) meta[option[1]] = option[2];
    else files.push(word);
  }
  return { meta, files };
}

async function main([target, task, ...words]) {
  const { meta, files } = optionsAndFiles(words);
  if (!target || (task && files.length === 0)) {
    console.error("usage: node infer.mjs HOST:PORT [TASK [KEY=VALUE…] FILE…]");
    return 2;
  }
  const client = connect(target);
  let failed = 0;
  try {
    if (!task) {
      for (const { serviceName, modelIds, runtime, tasks } of await capabilities(client)) {
        const names = tasks.map(({ name }) => name);
        console.log(JSON.stringify({ serviceName, modelIds, runtime, tasks: names }));
      }
      return 0;
    }
    await inferAll(client, task, files, meta, (file, answer, error, entry) => {
      failed += error ? 1 : 0;
      const isJson = answer?.resultMime.startsWith("application/json");
      const result = isJson ? JSON.parse(answer.result) : (answer?.result.toString("base64") ?? null);
      console.log(JSON.stringify({ file, entry, result, error }));
    });
    return failed ? 1 : 0;
  } finally {
    client.close();
  }
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  console.error(`infer.mjs: ${error.details ?? error.message}`);
  return 1;
});
