// A client of a home inference node in Go.
//
//	go mod tidy                                 once: fetches gRPC
//	go build -o infer .
//	./infer HOST:PORT                           what the node can do
//	./infer HOST:PORT ocr page.png …            a task on files, all over one call
//	./infer HOST:PORT clip_classify topk=3 cat.jpg          with options of the task
//	./infer HOST:PORT compose entries=ocr,face_detection cat.jpg   several tasks at once
//
// Prints one line of JSON for each capability or file, of compose for each entry; exits with 1
// if anything failed. A file with a = in its name is written as ./a=b.jpg.
//
// pb/ is made from the contract by `go generate` (protoc with its two plugins for Go).
package main

//go:generate protoc -I ../../proto --go_out . --go-grpc_out . --go_opt module=example.com/hearth,Mhome_native/v1/ml_service.proto=example.com/hearth/pb --go-grpc_opt module=example.com/hearth,Mhome_native/v1/ml_service.proto=example.com/hearth/pb home_native/v1/ml_service.proto

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"example.com/hearth/pb"
)

// hello is what a node takes at most to say that it is there.
const hello = 3 * time.Second

// connect makes a connection that notices within 13 seconds when the node is gone.
//
// grpc.Dial and grpc.WithInsecure are deprecated, but stay throughout gRPC 1.x; what replaces
// them isn't in the gRPC that some distributions still have (Debian 12: 1.33).
func connect(target string) (*grpc.ClientConn, error) {
	again := backoff.DefaultConfig
	again.BaseDelay, again.MaxDelay = firstGap, hello
	return grpc.Dial(target,
		grpc.WithInsecure(),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: hello}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}))
}

// printCapabilities prints a line for each service of the node.
func printCapabilities(ctx context.Context, client pb.InferenceClient, out *json.Encoder) error {
	stream, err := client.StreamCapabilities(ctx, &emptypb.Empty{})
	for err == nil {
		var told *pb.Capability
		if told, err = stream.Recv(); err == io.EOF {
			return nil
		} else if err == nil {
			tasks := []string{}
			for _, task := range told.Tasks {
				tasks = append(tasks, task.Name)
			}
			err = out.Encode(map[string]interface{}{
				"serviceName": told.ServiceName, "modelIds": append([]string{}, told.ModelIds...),
				"runtime": told.Runtime, "tasks": tasks,
			})
		}
	}
	return err
}

// reason is an error in plain words: of a status its message alone.
func reason(err error) string {
	if told, ok := status.FromError(err); ok {
		return told.Message()
	}
	return err.Error()
}

// lineOf is what is printed of a file: its result as JSON or base64, or the error.
func lineOf(file, entry, mime string, result []byte, err error) map[string]interface{} {
	line := map[string]interface{}{"file": file, "result": nil, "error": nil}
	if entry != "" {
		line["entry"] = entry
	}
	switch {
	case err != nil:
		line["error"] = reason(err)
	case strings.HasPrefix(mime, "application/json") && json.Valid(result):
		line["result"] = json.RawMessage(result)
	default:
		line["result"] = result
	}
	return line
}

var option = regexp.MustCompile(`(?s)^([A-Za-z][\w.-]*)=(.*)$`)

// optionsAndFiles parts KEY=VALUE among the arguments from the rest: files.
func optionsAndFiles(words []string) (meta map[string]string, files []string) {
	meta = map[string]string{}
	for _, word := range words {
		if found := option.FindStringSubmatch(word); found != nil {
			meta[found[1]] = found[2]
		} else {
			files = append(files, word)
		}
	}
	return meta, files
}

// infer does what the arguments say; the exit code is 1 if anything failed.
func infer(target, task string, meta map[string]string, files []string) (code int, err error) {
	conn, err := connect(target)
	if err != nil {
		return 1, err
	}
	defer conn.Close()
	client, out := pb.NewInferenceClient(conn), json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	ctx, cancel := context.WithTimeout(context.Background(), hello)
	defer cancel()
	if _, err := client.Health(ctx, &emptypb.Empty{}); err != nil {
		return 1, fmt.Errorf("no node answers at %s: %s", target, reason(err))
	}
	if task == "" {
		return 0, printCapabilities(ctx, client, out)
	}
	report := func(file, entry, mime string, result []byte, failed error) {
		if failed != nil {
			code = 1
		}
		if bad := out.Encode(lineOf(file, entry, mime, result, failed)); bad != nil {
			code, err = 1, bad
		}
	}
	work := job{client, task, meta, report}
	work.run(files)
	return code, err
}

func main() {
	var target, task string
	words := os.Args[1:]
	for _, word := range []*string{&target, &task} {
		if len(words) > 0 {
			*word, words = words[0], words[1:]
		}
	}
	meta, files := optionsAndFiles(words)
	if target == "" || (task != "" && len(files) == 0) {
		fmt.Fprintln(os.Stderr, "usage: infer HOST:PORT [TASK [KEY=VALUE…] FILE…]")
		os.Exit(2)
	}
	code, err := infer(target, task, meta, files)
	if err != nil {
		fmt.Fprintln(os.Stderr, "infer:", reason(err))
		code = 1
	}
	os.Exit(code)
}
