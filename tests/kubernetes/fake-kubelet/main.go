// Command fake-kubelet answers the API server for pods that kwok only pretends to run: logs,
// exec, attach and port-forward.
//
// kwok has such a server too, but it loses exit codes and never closes a command's standard
// input, and it asks nobody who they are. Here a command is run on this machine, in a folder of
// the pod's own; a port of any pod is that port of 127.0.0.1.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

func main() {
	address := flag.String("address", "", "where to listen")
	cert := flag.String("tls-cert-file", "", "certificate to show")
	key := flag.String("tls-private-key-file", "", "its key")
	clientCA := flag.String("client-ca-file", "", "who may connect")
	root := flag.String("pods", "", "folder of the pods' logs and files")
	flag.Parse()

	clients, err := pool(*clientCA)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	server := &http.Server{
		Handler:   routes(pods{root: *root}),
		TLSConfig: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
	}
	log.Fatal(server.ServeTLS(listener, *cert, *key))
}

// pods is all of them: none is known one by one.
type pods struct{ root string }

func routes(p pods) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", p.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", p.serveExec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", p.serveAttach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", p.servePortForward)
	return mux
}

func (p pods) serveExec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, p, name(r), "", r.PathValue("container"), r.URL.Query()["command"],
		options, idleTimeout, streamTimeout, remotecommand.SupportedStreamingProtocols)
}

func (p pods) serveAttach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, p, name(r), "", r.PathValue("container"),
		options, idleTimeout, streamTimeout, remotecommand.SupportedStreamingProtocols)
}

func (p pods) servePortForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, p, name(r), "", options,
		idleTimeout, streamTimeout, portforward.SupportedProtocols)
}

func name(r *http.Request) string {
	return r.PathValue("namespace") + "/" + r.PathValue("pod")
}

func pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + ": no certificate in it")
	}
	return pool, nil
}

// As the real kubelet has them.
const (
	idleTimeout   = 4 * time.Hour
	streamTimeout = 30 * time.Second
)
