// load makes the traffic that the benchmarks of the relay measure. Each command prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

type command func(ctx context.Context, flags *flag.FlagSet, args []string) (any, error)

var commands = map[string]command{
	"delay":    delay,
	"unary":    unary,
	"idle":     idle,
	"builds":   builds,
	"transfer": transfer,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: load delay|transfer|unary|idle|builds -help")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	result, err := commands[os.Args[1]](ctx, flags, os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	if result != nil {
		_ = json.NewEncoder(os.Stdout).Encode(result)
	}
}
