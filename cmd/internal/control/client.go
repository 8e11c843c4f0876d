package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// ErrNoServer says that no process answers for a store.
var ErrNoServer = errors.New("no server has the store open")

// Call calls the operation called name of the process that has the store in dir
// open, and returns its result; ErrNoServer when there is no process. An error of the
// operation matches what it matched there, as far as collfs.KindOf can tell.
func Call(ctx context.Context, dir, name string, args json.RawMessage, tell func(Progress)) (json.RawMessage, error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialUnix(ctx, socketPath(dir)) },
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://store/v1/"+name, bytes.NewReader(args))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoServer
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // part of a message is better than none
		return nil, refusal(text)
	}
	lines := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var r reply
		var line json.RawMessage
		err := lines.Decode(&line)
		if err == nil {
			err = Unmarshal(line, &r)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, errors.New("the server ended before the command was done")
		}
		switch {
		case r.Progress != nil:
			tell(*r.Progress)
		case r.Error != "":
			return nil, &remoteError{r.Error, r.Kind}
		default:
			return r.Result, nil
		}
	}
}

// refusal is the text of an answer that is no success.
func refusal(text []byte) error { return errors.New(string(bytes.TrimSpace(text))) }

// Answers tells whether a process has the store in dir open and answers.
func Answers(ctx context.Context, dir string) (bool, error) {
	c, err := dialUnix(ctx, socketPath(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		return false, fmt.Errorf("another user's program has the store in %s open, and only that user may mount it: %w", dir, err)
	case err != nil:
		return false, fmt.Errorf("control socket: %w", err)
	}
	return true, c.Close()
}
