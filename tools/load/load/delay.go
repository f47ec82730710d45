package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"strings"
	"time"
)

// The most that may be on its way in one direction: far more than any bandwidth-delay product measured here.
const chunks = 4096

// Reads fill blocks one after the other: a buffer of its own for each would cost more than what is measured.
const (
	block    = 1 << 20
	smallest = 64 << 10
)

type parcel struct {
	bytes []byte
	due   time.Time
}

// delay relays TCP connections and holds every byte back by half a round trip in each direction, without limiting how
// many are on their way: kernels without netem have nothing that does.
func delay(ctx context.Context, flags *flag.FlagSet, args []string) (any, error) {
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	target := flags.String("target", "", "host:port or /path of a unix socket")
	roundTrip := flags.Duration("rtt", 20*time.Millisecond, "added round-trip time")
	_ = flags.Parse(args)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return nil, err
	}
	fmt.Printf("{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	network := "tcp"
	if strings.HasPrefix(*target, "/") {
		network = "unix"
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return nil, nil
		}
		go func() {
			server, err := net.Dial(network, *target)
			if err != nil {
				client.Close()
				return
			}
			go carry(client, server, *roundTrip/2)
			carry(server, client, *roundTrip/2)
		}()
	}
}

func carry(from, to net.Conn, hold time.Duration) {
	queue := make(chan parcel, chunks)
	go func() {
		defer close(queue)
		var free []byte
		for {
			if len(free) < smallest {
				free = make([]byte, block)
			}
			n, err := from.Read(free)
			if n > 0 {
				queue <- parcel{free[:n:n], time.Now().Add(hold)}
				free = free[n:]
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range queue {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	for range queue {
	}
}
