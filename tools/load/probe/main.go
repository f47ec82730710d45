// probe makes what buildctl and buildx cannot be told to: graphs of BuildKit's own client library with steps in them, and
// a client that starts a process in a container of its own, one that puts platforms together itself, one that names its
// frontend in Solve; it fetches URLs, in steps that have nothing else; and it is a frontend. Tests use it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path"
	"syscall"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
)

var (
	addr    = flag.String("addr", "", "address of the daemon")
	shell   = flag.String("busybox", "/bin/busybox", "a static busybox: all that the containers have")
	script  = flag.String("script", "env", "what /bin/sh runs there")
	variant = flag.String("salt", "", "another text makes other steps")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		usage()
	}
	what := os.Args[1]
	_ = flag.CommandLine.Parse(os.Args[2:])
	var err error
	switch what {
	case "graph":
		err = graph(ctx)
	case "exec":
		err = exec(ctx)
	case "combine":
		err = combine(ctx)
	case "solve":
		err = solve(ctx)
	case "get":
		err = get(ctx)
	case "stubborn":
		err = stubborn(ctx)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: probe graph|exec|combine|solve|get|stubborn [-addr A] [-busybox FILE] [-script TEXT] [-salt TEXT] [-context DIRECTORY] [-image NAME] [-push] [-platforms-alone] [URL... | NAME=VALUE...]")
	os.Exit(2)
}

// base is a file system with a shell, from a local directory that is called `bin`.
func base() llb.State {
	name := path.Base(*shell)
	local := llb.Local("bin", llb.IncludePatterns([]string{name}))
	return llb.Scratch().
		File(llb.Copy(local, name, "/bin/sh", &llb.CopyInfo{CreateDestPath: true})).
		File(llb.Copy(local, name, "/bin/busybox")).
		AddEnv("PATH", "/bin")
}

// graph writes a definition to standard output: a step, one that uses its result, one that has a proxy of its own, all
// merged; with descriptions and source locations, as frontends write them.
func graph(ctx context.Context) error {
	text := "first line\nsecond line\n"
	source := llb.NewSourceMap(nil, "Madefile", "text", []byte(text))
	at := func(line int32) llb.ConstraintsOpt {
		return source.Location([]*pb.Range{{
			Start: &pb.Position{Line: line}, End: &pb.Position{Line: line},
		}})
	}
	run := func(from llb.State, name string, options ...llb.RunOption) llb.State {
		command := fmt.Sprintf("echo step %s; %s", name, *script)
		options = append(options, llb.Args([]string{"/bin/sh", "-c", command}), llb.WithCustomName("step "+name))
		return from.AddEnv("SALT", *variant).Run(options...).Root()
	}
	first := run(base(), "first", at(1))
	second := run(first, "second", at(2), llb.AddEnv("http_proxy", "http://own.test:1"))
	third := run(base(), "third", llb.WithProxy(llb.ProxyEnv{HTTPProxy: "http://own.test:2"}))
	definition, err := llb.Merge([]llb.State{second, third}).Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return err
	}
	return llb.WriteTo(definition, os.Stdout)
}

// exec builds the base, starts the script in a container from it, and copies what the script writes.
func exec(ctx context.Context) error {
	if *addr == "" {
		return errors.New("-addr is missing")
	}
	c, err := client.New(ctx, *addr)
	if err != nil {
		return err
	}
	defer c.Close()
	directory, err := fsutil.NewFS(path.Dir(*shell))
	if err != nil {
		return err
	}
	options := client.SolveOpt{
		LocalMounts:   map[string]fsutil.FS{"bin": directory},
		FrontendAttrs: map[string]string{},
	}
	for _, option := range flag.Args() {
		for i := range option {
			if option[i] == '=' {
				options.FrontendAttrs[option[:i]] = option[i+1:]
				break
			}
		}
	}
	build := func(ctx context.Context, bridge gateway.Client) (*gateway.Result, error) {
		definition, err := base().Marshal(ctx, llb.LinuxAmd64)
		if err != nil {
			return nil, err
		}
		result, err := bridge.Solve(ctx, gateway.SolveRequest{Definition: definition.ToPB(), Evaluate: true})
		if err != nil {
			return nil, err
		}
		return result, runIn(ctx, bridge, result)
	}
	status := make(chan *client.SolveStatus)
	go func() {
		for range status {
		}
	}()
	_, err = c.Build(ctx, options, "", build, status)
	return err
}

// get prints what the URLs answer. Go's client reads the proxy variables of its environment.
func get(ctx context.Context) error {
	for _, url := range flag.Args() {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s %s\n", url, response.Status, body)
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
	}
	return nil
}

func runIn(ctx context.Context, bridge gateway.Client, result *gateway.Result) error {
	container, err := bridge.NewContainer(ctx, gateway.NewContainerRequest{
		Mounts: []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: result.Ref}},
	})
	if err != nil {
		return err
	}
	defer func() { _ = container.Release(context.WithoutCancel(ctx)) }()
	process, err := container.Start(ctx, gateway.StartRequest{
		Args:   []string{"/bin/sh", "-c", *script},
		Env:    []string{"PATH=/bin", "FTP_PROXY=http://own.test:3"},
		Cwd:    "/",
		Stdout: os.Stdout,
		Stderr: os.Stderr,
	})
	if err != nil {
		return err
	}
	return process.Wait()
}
