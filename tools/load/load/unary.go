package main

import (
	"context"
	"flag"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// raw passes messages through as bytes.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

type unaryResult struct {
	Calls  int     `json:"calls"`
	Failed int     `json:"failed"`
	Error  string  `json:"error,omitempty"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// unary makes calls at a fixed rate, whether or not earlier ones are answered, and times each from the moment it was
// due: a door that stalls is seen to stall. Milliseconds.
func unary(ctx context.Context, flags *flag.FlagSet, args []string) (any, error) {
	address := flags.String("addr", "", "unix:///path or host:port")
	method := flags.String("method", "/moby.buildkit.v1.Control/Info", "path of the call; the request is empty")
	connections := flags.Int("connections", 64, "connections")
	rate := flags.Int("rate", 500, "calls a second")
	duration := flags.Duration("duration", 10*time.Second, "measured time, after a second of warming up")
	_ = flags.Parse(args)
	clients := make([]*grpc.ClientConn, *connections)
	for i := range clients {
		client, err := dial(*address)
		if err != nil {
			return nil, err
		}
		defer client.Close()
		clients[i] = client
	}
	call := func(client *grpc.ClientConn) error {
		request, response := []byte{}, []byte{}
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return client.Invoke(limited, *method, &request, &response, grpc.ForceCodec(raw{}))
	}
	var (
		mutex  sync.Mutex
		times  []time.Duration
		result unaryResult
		wait   sync.WaitGroup
	)
	for _, client := range clients {
		if err := call(client); err != nil {
			return nil, err
		}
	}
	interval := time.Second / time.Duration(*rate)
	start := time.Now()
	warm := start.Add(time.Second)
	for n := 0; ctx.Err() == nil; n++ {
		due := start.Add(time.Duration(n) * interval)
		if due.Sub(warm) > *duration {
			break
		}
		time.Sleep(time.Until(due))
		// What the scheduler of this process loses is no fault of the door.
		begun := time.Now()
		wait.Add(1)
		go func() {
			defer wait.Done()
			err := call(clients[n%len(clients)])
			took := time.Since(begun)
			if due.Before(warm) {
				return
			}
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				result.Failed++
				result.Error = err.Error()
			}
			times = append(times, took)
		}()
	}
	wait.Wait()
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	at := func(share float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return float64(times[int(share*float64(len(times)-1))].Microseconds()) / 1000
	}
	result.Calls, result.P50, result.P99, result.Max = len(times), at(0.5), at(0.99), at(1)
	return result, nil
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
}
