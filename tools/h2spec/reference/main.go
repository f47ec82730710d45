// reference is Go's own HTTP/2 server with nothing of ours: what h2spec finds here is no fault to be ashamed of.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port)
	server := &http2.Server{}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "not found")
	})
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go server.ServeConn(connection, &http2.ServeConnOpts{Handler: answer})
	}
}
