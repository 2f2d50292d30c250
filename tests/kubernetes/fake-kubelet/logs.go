package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	criapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crilogs "k8s.io/cri-client/pkg/logs"
)

type logOptions = crilogs.LogOptions

func (p pods) serveLogs(w http.ResponseWriter, r *http.Request) {
	options, err := parseLogOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := flushing{w}
	if err := p.readLogs(r.Context(), name(r), options, out, out); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// readLogs reads the pod's own log if it has one, else the one of all pods.
func (p pods) readLogs(ctx context.Context, pod string, options *logOptions, out, errOut io.Writer) error {
	file := filepath.Join(p.root, pod, "log")
	if _, err := os.Stat(file); err != nil {
		file = filepath.Join(p.root, "all", "log")
	}
	return crilogs.ReadLogs(ctx, file, "", options, noRuntime{}, out, errOut)
}

func parseLogOptions(query url.Values) (*logOptions, error) {
	options := &logOptions{
		Follow:    query.Get("follow") == "true",
		Timestamp: query.Get("timestamps") == "true",
	}
	var err error
	if options.TailLines, err = number(query, "tailLines"); err != nil {
		return nil, err
	}
	if options.LimitBytes, err = number(query, "limitBytes"); err != nil {
		return nil, err
	}
	seconds, err := number(query, "sinceSeconds")
	if err != nil {
		return nil, err
	}
	if seconds != nil {
		options.Since = time.Now().Add(-time.Duration(*seconds) * time.Second)
	}
	if since := query.Get("sinceTime"); since != "" {
		options.Since, err = time.Parse(time.RFC3339, since)
	}
	return options, err
}

func number(query url.Values, name string) (*int64, error) {
	if !query.Has(name) {
		return nil, nil
	}
	value, err := strconv.ParseInt(query.Get(name), 10, 64)
	return &value, err
}

// flushing sends every line at once, so that it can be followed.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(line []byte) (int, error) {
	n, err := f.ResponseWriter.Write(line)
	if flusher, ok := f.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
	return n, err
}

// noRuntime stands for a container runtime that is away: logs are followed until the client goes.
type noRuntime struct{ criapi.RuntimeService }

func (noRuntime) ContainerStatus(context.Context, string, bool) (*runtimeapi.ContainerStatusResponse, error) {
	return nil, status.Error(codes.Unavailable, "no runtime")
}
