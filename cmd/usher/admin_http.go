package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	// dialPatience is how long a node may take to accept a connection, and
	// answerPatience how long to answer, before the next is asked. A node answers
	// within 5 s, if only that it cannot.
	dialPatience   = 3 * time.Second
	answerPatience = 10 * time.Second
	// maxAnswer bounds an answer, in bytes: a cluster of 256 nodes with 1,024 shards
	// says about 3 MB.
	maxAnswer = 64 << 20
)

// A problemError is what a node says of a request that it does not fulfil (RFC 9457).
type problemError struct {
	status int
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"` // as docs/http.md lists them; empty: it was no such answer
}

func (e *problemError) Error() string {
	if e.Detail != "" {
		return strings.TrimSuffix(e.Detail, ".")
	}
	return e.Title
}

// A change is a request that is named by a key of its own, so that it is done once
// however often it is sent.
type change struct {
	path string
	body any
	once string // Idempotency-Key
}

// ask asks the admin listeners until one answers, and decodes the answer into out
// if it is not nil. It returns the answer as it is, nil if it has no body.
func (a *adminCall) ask(ctx context.Context, method, path string, in, out any) (json.RawMessage, error) {
	return a.askOnce(ctx, method, change{path: path, body: in}, out)
}

func (a *adminCall) askOnce(ctx context.Context, method string, c change, out any) (json.RawMessage, error) {
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return nil, err
		}
	}
	if err := a.openHTTP(); err != nil {
		return nil, err
	}
	var why []error
	for i := range a.admins.values {
		at := (a.at + i) % len(a.admins.values)
		answer, err := a.askAt(ctx, a.admins.values[at], method, c, body)
		if _, silent := errors.AsType[*silence](err); silent {
			why = append(why, err)
			continue
		}
		a.at = at
		if err != nil || out == nil || len(answer) == 0 {
			return answer, err
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return nil, fmt.Errorf("read the node's answer: %w", err)
		}
		return answer, nil
	}
	return nil, errors.Join(why...)
}

// A silence is that a node did not answer.
type silence struct{ err error }

func (s *silence) Error() string { return s.err.Error() }
func (s *silence) Unwrap() error { return s.err }

func (a *adminCall) openHTTP() error {
	if a.http != nil {
		return nil
	}
	tlsConfig, err := a.connect.tlsConfig()
	if err != nil {
		return err
	}
	a.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig:       tlsConfig,
		DialContext:           (&net.Dialer{Timeout: dialPatience}).DialContext,
		ResponseHeaderTimeout: answerPatience,
	}}
	return nil
}

// askAt asks one admin listener.
func (a *adminCall) askAt(ctx context.Context, url, method string, c change, body []byte) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(url, "/")+c.path, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{fmt.Sprintf("--admin-url %s: %v", url, err)}
	}
	req.Header.Set("Content-Type", "application/json")
	if c.once != "" {
		req.Header.Set("Idempotency-Key", c.once)
	}
	if err := a.authorize(req); err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, &silence{err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &silence{fmt.Errorf("read the answer of %s: %w", url, err)}
	}
	if resp.StatusCode < http.StatusBadRequest {
		return answer, nil
	}
	return nil, problemOf(resp, answer)
}

// problemOf reads the answer to a request that was not fulfilled.
func problemOf(resp *http.Response, answer []byte) *problemError {
	p := &problemError{status: resp.StatusCode}
	if json.Unmarshal(answer, p) != nil || p.Title == "" {
		p.Title, p.Detail = "the node answered "+resp.Status, ""
	}
	return p
}

// authorize adds the API key, if there is one.
func (a *adminCall) authorize(req *http.Request) error {
	key, err := a.connect.apiKey()
	if err == nil && key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return err
}

// print writes v as JSON, or as the table that rows makes.
func (a *adminCall) print(v any, rows func(w io.Writer)) error {
	if a.asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	rows(tw)
	return tw.Flush()
}

// say prints a node's answer as JSON if that is wanted, or else a sentence.
func (a *adminCall) say(answer json.RawMessage, format string, args ...any) error {
	if a.asJSON && len(answer) == 0 {
		return nil
	}
	return a.print(answer, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}
