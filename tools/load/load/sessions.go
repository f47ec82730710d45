package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
)

type idleResult struct {
	Open int `json:"open"`
}

// idle opens client sessions, each on a connection of its own as buildctl does, and keeps them until its standard input
// ends. It prints how many are open when all are.
func idle(ctx context.Context, flags *flag.FlagSet, args []string) (any, error) {
	address := flags.String("addr", "", "unix:///path or tcp://host:port")
	count := flags.Int("sessions", 1000, "sessions")
	_ = flags.Parse(args)
	gate := make(chan struct{}, 32)
	var wait sync.WaitGroup
	var mutex sync.Mutex
	open := 0
	var failure error
	for range *count {
		wait.Add(1)
		gate <- struct{}{}
		go func() {
			defer wait.Done()
			defer func() { <-gate }()
			err := openSession(ctx, *address)
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				failure = err
				return
			}
			open++
		}()
	}
	wait.Wait()
	if failure != nil {
		return nil, failure
	}
	fmt.Printf("{\"open\":%d}\n", open)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil, nil
}

func openSession(ctx context.Context, address string) error {
	c, err := client.New(ctx, address)
	if err != nil {
		return err
	}
	if _, err = c.Info(ctx); err != nil {
		return err
	}
	s, err := session.NewSession(ctx, "")
	if err != nil {
		return err
	}
	go func() { _ = s.Run(ctx, c.Dialer()) }()
	return nil
}

type buildsResult struct {
	Seconds float64 `json:"seconds"`
	Failed  int     `json:"failed"`
	Error   string  `json:"error,omitempty"`
}

// builds runs so many tiny builds at once, each on a connection of its own, and says how long all of them took.
func builds(ctx context.Context, flags *flag.FlagSet, args []string) (any, error) {
	address := flags.String("addr", "", "unix:///path or tcp://host:port")
	count := flags.Int("builds", 200, "builds")
	_ = flags.Parse(args)
	var wait sync.WaitGroup
	var mutex sync.Mutex
	var result buildsResult
	nonce := fmt.Sprint(time.Now().UnixNano())
	started := time.Now()
	for n := range *count {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := build(ctx, *address, fmt.Sprint(nonce, n)); err != nil {
				mutex.Lock()
				defer mutex.Unlock()
				result.Failed++
				result.Error = err.Error()
			}
		}()
	}
	wait.Wait()
	result.Seconds = time.Since(started).Seconds()
	return result, nil
}

func build(ctx context.Context, address, nonce string) error {
	c, err := client.New(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	state := llb.Scratch().File(llb.Mkfile("/nonce", 0o644, []byte(nonce)))
	definition, err := state.Marshal(ctx)
	if err != nil {
		return err
	}
	_, err = c.Solve(ctx, definition, client.SolveOpt{}, nil)
	return err
}
