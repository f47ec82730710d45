package main

import (
	"context"
	"crypto/rand"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
)

// stubborn is a frontend in an image: whatever platforms it is asked for, it makes the same two, with other content each
// time.
func stubborn(ctx context.Context) error {
	return grpcclient.RunFromEnvironment(ctx, func(ctx context.Context, bridge gateway.Client) (*gateway.Result, error) {
		result := newPlatformImage()
		for _, name := range []string{"linux/amd64", "linux/arm64"} {
			platform := platforms.MustParse(name)
			state := llb.Scratch().File(llb.Mkfile("/made", 0o644, []byte(rand.Text())))
			definition, err := state.Marshal(ctx, llb.Platform(platform))
			if err != nil {
				return nil, err
			}
			made, err := bridge.Solve(ctx, gateway.SolveRequest{Definition: definition.ToPB(), Evaluate: true})
			if err != nil {
				return nil, err
			}
			if err := result.add(name, platform, made); err != nil {
				return nil, err
			}
		}
		return result.whole()
	})
}
