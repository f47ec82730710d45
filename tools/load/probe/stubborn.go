package main

import (
	"context"
	"crypto/rand"
	"encoding/json"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// stubborn is a frontend in an image: whatever platforms it is asked for, it makes the same two, with other content each
// time.
func stubborn(ctx context.Context) error {
	return grpcclient.RunFromEnvironment(ctx, func(ctx context.Context, bridge gateway.Client) (*gateway.Result, error) {
		result := gateway.NewResult()
		var all exptypes.Platforms
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
			ref, err := made.SingleRef()
			if err != nil {
				return nil, err
			}
			config, err := json.Marshal(ocispecs.Image{Platform: platform})
			if err != nil {
				return nil, err
			}
			result.AddRef(name, ref)
			result.AddMeta(exptypes.ExporterImageConfigKey+"/"+name, config)
			all.Platforms = append(all.Platforms, exptypes.Platform{ID: name, Platform: platform})
		}
		list, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		result.AddMeta(exptypes.ExporterPlatformsKey, list)
		return result, nil
	})
}
