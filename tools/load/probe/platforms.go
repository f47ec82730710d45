package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
)

var (
	files  = flag.String("context", "", "directory with a Dockerfile: frontends are asked, and no graph is sent")
	image  = flag.String("image", "", "name of the image that is exported")
	pushed = flag.Bool("push", false, "the image is pushed")
	alone  = flag.Bool("platforms-alone", false, "the frontend is asked for one platform at a time")
)

// combine is a client that builds each platform of an image by itself, and puts them together.
func combine(ctx context.Context) error {
	c, options, err := open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	attrs := options.FrontendAttrs
	build := func(ctx context.Context, bridge gateway.Client) (*gateway.Result, error) {
		result := newPlatformImage()
		for name := range strings.SplitSeq(attrs["platform"], ",") {
			platform, err := platforms.Parse(name)
			if err != nil {
				return nil, err
			}
			request, err := requestFor(ctx, platform, name, attrs)
			if err != nil {
				return nil, err
			}
			made, err := bridge.Solve(ctx, request)
			if err != nil {
				return nil, err
			}
			if err := result.add(name, platform, made); err != nil {
				return nil, err
			}
		}
		return result.whole()
	}
	response, err := c.Build(ctx, options, "", build, tell())
	return answered(response, err)
}

// platformImage is an image of several platforms in the making.
type platformImage struct {
	result *gateway.Result
	all    exptypes.Platforms
}

func newPlatformImage() *platformImage { return &platformImage{result: gateway.NewResult()} }

// add takes what one platform has become.
func (p *platformImage) add(name string, platform ocispecs.Platform, made *gateway.Result) error {
	ref, err := made.SingleRef()
	if err != nil {
		return err
	}
	config, err := json.Marshal(ocispecs.Image{Platform: platform})
	if err != nil {
		return err
	}
	p.result.AddRef(name, ref)
	p.result.AddMeta(exptypes.ExporterImageConfigKey+"/"+name, config)
	p.all.Platforms = append(p.all.Platforms, exptypes.Platform{ID: name, Platform: platform})
	return nil
}

// whole is the image, with the list of its platforms.
func (p *platformImage) whole() (*gateway.Result, error) {
	list, err := json.Marshal(p.all)
	if err != nil {
		return nil, err
	}
	p.result.AddMeta(exptypes.ExporterPlatformsKey, list)
	return p.result, nil
}

func requestFor(ctx context.Context, platform ocispecs.Platform, name string, attrs map[string]string) (gateway.SolveRequest, error) {
	if *alone {
		own := map[string]string{}
		for key, value := range attrs {
			own[key] = value
		}
		own["platform"] = name
		return gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: own, Evaluate: true}, nil
	}
	command := fmt.Sprintf("echo graph for %s > /made; cat /made; %s", name, *script)
	state := base().AddEnv("SALT", *variant).Run(llb.Args([]string{"/bin/sh", "-c", command})).Root()
	definition, err := state.Marshal(ctx, llb.Platform(platform))
	if err != nil {
		return gateway.SolveRequest{}, err
	}
	return gateway.SolveRequest{Definition: definition.ToPB(), Evaluate: true}, nil
}

// solve names the frontend in Solve itself, as clients did before LLBBridge. After SIGUSR1 it goes on without its session.
func solve(ctx context.Context) error {
	c, options, err := open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	options.Frontend = "dockerfile.v0"
	options.SharedSession, err = session.NewSession(ctx, "")
	if err != nil {
		return err
	}
	lose := make(chan os.Signal, 1)
	signal.Notify(lose, syscall.SIGUSR1)
	go func() {
		<-lose
		_ = options.SharedSession.Close()
	}()
	response, err := c.Solve(ctx, nil, options, tell())
	return answered(response, err)
}

func open(ctx context.Context) (*client.Client, client.SolveOpt, error) {
	options := client.SolveOpt{LocalMounts: map[string]fsutil.FS{}, FrontendAttrs: map[string]string{}}
	if *addr == "" {
		return nil, options, errors.New("-addr is missing")
	}
	mounts := map[string]string{"bin": path.Dir(*shell)}
	if *files != "" {
		mounts = map[string]string{"context": *files, "dockerfile": *files}
	}
	for name, directory := range mounts {
		mount, err := fsutil.NewFS(directory)
		if err != nil {
			return nil, options, err
		}
		options.LocalMounts[name] = mount
	}
	for _, option := range flag.Args() {
		if key, value, found := strings.Cut(option, "="); found {
			options.FrontendAttrs[key] = value
		}
	}
	if *image != "" {
		export := client.ExportEntry{Type: client.ExporterImage, Attrs: map[string]string{"name": *image}}
		if *pushed {
			export.Attrs["push"] = "true"
		}
		options.Exports = []client.ExportEntry{export}
	}
	c, err := client.New(ctx, *addr)
	return c, options, err
}

// tell prints the names of steps as they begin, and what they write.
func tell() chan *client.SolveStatus {
	status := make(chan *client.SolveStatus)
	go func() {
		for message := range status {
			for _, vertex := range message.Vertexes {
				if vertex.Started != nil && vertex.Completed == nil {
					fmt.Println(vertex.Name)
				}
			}
			for _, log := range message.Logs {
				_, _ = os.Stdout.Write(log.Data)
			}
		}
	}()
	return status
}

func answered(response *client.SolveResponse, err error) error {
	if err == nil {
		fmt.Println("digest", response.ExporterResponse[exptypes.ExporterImageDigestKey])
	}
	return err
}
