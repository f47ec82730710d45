// Stands in for defaults_unix.go of github.com/containerd/platforms when the programs of the lab's foreign node are
// built (go build -overlay): they take themselves for programs of another architecture.
package platforms

import specs "github.com/opencontainers/image-spec/specs-go/v1"

// DefaultSpec is what containerd and buildkitd take for the platform of the machine they run on.
func DefaultSpec() specs.Platform {
	return specs.Platform{OS: "linux", Architecture: "arm64"}
}

// Default prefers that platform.
func Default() MatchComparer {
	return Only(DefaultSpec())
}
