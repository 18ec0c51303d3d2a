package main

import (
	"context"
	"io"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/hearth/pb"
)

const (
	chunk    = 512 << 10                // larger payloads travel in pieces of this many bytes
	tries    = 5                        // in a row without an answer; then we give up
	firstGap = 200 * time.Millisecond   // before the second try; it doubles from try to try
	pushback = "grpc-retry-pushback-ms" // by this name a node says when to try again
)

// request is one file on its way.
type request struct {
	file   string
	result []byte // of the answer that is coming in
	told   bool   // some of its answers have been reported
	err    error  // why it must be sent again
}

// job is what is done to each file. report is called with each answer or error. Of the task compose
// each entry has one of its own; else entry is empty.
type job struct {
	client pb.InferenceClient
	task   string
	meta   map[string]string
	report func(file, entry, mime string, result []byte, err error)
}

// run does the job to all files. What the node couldn't take is sent again: that is safe, since
// a node remembers nothing of a request.
func (j *job) run(files []string) {
	var open []*request
	for _, file := range files {
		open = append(open, &request{file: file})
	}
	for try, gap := 1, firstGap; try <= tries; try, gap = try+1, 2*gap {
		left, wait := j.round(open)
		if len(left) == 0 {
			return
		}
		if len(left) < len(open) {
			try, gap = 1, firstGap
		}
		if wait < gap {
			wait = gap
		}
		if open = left; try < tries {
			time.Sleep(wait)
		}
	}
	for _, r := range open {
		j.report(r.file, "", "", nil, r.err)
	}
}

// round makes one call for all requests. It returns those that are to be sent again, and how long
// the node wants to be left alone before.
func (j *job) round(requests []*request) (left []*request, wait time.Duration) {
	open := map[string]*request{} // by correlation_id
	for index, r := range requests {
		r.result = nil
		open[strconv.Itoa(index)] = r
	}
	fail := func(id string, err error, told []string) {
		r := open[id]
		delete(open, id)
		after, again := retry(err, told)
		if !again || r.told {
			j.report(r.file, "", "", nil, err)
			return
		}
		if after > wait {
			wait = after
		}
		r.err = err
		left = append(left, r)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := j.client.Infer(ctx)
	var told []string
	if err == nil {
		unread := make(chan map[string]error, 1)
		go func() { unread <- j.send(stream, requests) }()
		err = j.receive(stream, open, fail)
		told = stream.Trailer().Get(pushback)
		cancel()
		for id, err := range <-unread {
			fail(id, err, nil)
		}
	}
	// A status ends the call: it is the answer to all that have none yet.
	for index := range requests {
		if id := strconv.Itoa(index); open[id] != nil {
			fail(id, err, told)
		}
	}
	return left, wait
}

// send sends the files' contents to the end, or until the call has ended. It returns what went
// wrong with files that can't be read, by correlation_id.
func (j *job) send(stream pb.Inference_InferClient, requests []*request) map[string]error {
	unread := map[string]error{}
	for index, r := range requests {
		id := strconv.Itoa(index)
		payload, err := os.ReadFile(r.file)
		if err != nil {
			unread[id] = err
			continue
		}
		total := (len(payload) + chunk - 1) / chunk
		for seq := 0; seq == 0 || seq < total; seq++ {
			from, to := seq*chunk, (seq+1)*chunk
			if to > len(payload) {
				to = len(payload)
			}
			message := &pb.InferRequest{CorrelationId: id, Task: j.task, Meta: j.meta, Payload: payload[from:to]}
			if total > 1 {
				message.Seq, message.Total, message.Offset = uint64(seq), uint64(total), uint64(from)
			}
			if stream.Send(message) != nil {
				return unread // the call has ended; receive learns why
			}
		}
	}
	stream.CloseSend()
	return unread
}

// receive reports answers until the call ends. It takes what is done out of open, and returns
// what the call ended with.
func (j *job) receive(stream pb.Inference_InferClient, open map[string]*request, fail func(string, error, []string)) error {
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			return status.Error(codes.Unavailable, "the node ended the call without an answer")
		}
		if err != nil {
			return err
		}
		id, entry := answer.CorrelationId, answer.Meta["entry"]
		r := open[id]
		if r == nil {
			continue
		}
		if answer.Error != nil && entry == "" {
			fail(id, inBand(answer.Error), []string{answer.Meta[pushback]})
			continue
		}
		r.result = append(r.result, answer.Result...)
		// Of several answers to one request only the last is final; each has all of its chunks.
		if !answer.IsFinal && answer.Error == nil && (entry == "" || answer.Seq+1 < answer.Total) {
			continue
		}
		j.report(r.file, entry, answer.ResultMime, r.result, inBand(answer.Error))
		r.result, r.told = nil, true
		if answer.IsFinal {
			delete(open, id)
		}
	}
}

// inBand is the error that came in an answer, where one did.
func inBand(told *pb.Error) error {
	if told == nil {
		return nil
	}
	if told.Code == pb.ErrorCode_ERROR_CODE_UNAVAILABLE {
		return status.Error(codes.Unavailable, told.Message)
	}
	return status.Error(codes.Unknown, told.Message)
}

// retry says whether it is of use to send a request again that failed so, and after what time.
func retry(err error, told []string) (time.Duration, bool) {
	if len(told) > 0 && told[0] != "" {
		ms, bad := strconv.Atoi(told[0])
		return time.Duration(ms) * time.Millisecond, bad == nil && ms >= 0
	}
	return 0, status.Code(err) == codes.Unavailable
}
