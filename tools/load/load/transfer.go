package main

import (
	"context"
	"flag"
	"io"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
)

type transferResult struct {
	Seconds float64 `json:"seconds"`
}

// transfer builds a directory as it is: the daemon fetches it from the client unless it has seen the same key and the
// same files before, and with -export sends it back as a tar archive that is thrown away.
func transfer(ctx context.Context, flags *flag.FlagSet, args []string) (any, error) {
	address := flags.String("addr", "", "unix:///path or tcp://host:port")
	directory := flags.String("dir", "", "directory to send")
	key := flags.String("key", "", "under which the daemon remembers what it has")
	export := flags.Bool("export", false, "have it sent back")
	_ = flags.Parse(args)
	files, err := fsutil.NewFS(*directory)
	if err != nil {
		return nil, err
	}
	state := llb.Local("context", llb.SharedKeyHint(*key))
	definition, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	options := client.SolveOpt{LocalMounts: map[string]fsutil.FS{"context": files}}
	if *export {
		output := func(map[string]string) (io.WriteCloser, error) { return nowhere{io.Discard}, nil }
		options.Exports = []client.ExportEntry{{Type: client.ExporterTar, Output: output}}
	}
	started := time.Now()
	c, err := client.New(ctx, *address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err = c.Solve(ctx, definition, options, nil); err != nil {
		return nil, err
	}
	return transferResult{time.Since(started).Seconds()}, nil
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }
