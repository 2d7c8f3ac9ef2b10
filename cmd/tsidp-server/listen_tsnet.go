// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tailscale/tsidp"
	"tailscale.com/hostinfo"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tsnet"
)

// dnsPage is where a tailnet's names and certificates are switched on.
const dnsPage = "the DNS page of the admin console (https://login.tailscale.com/admin/dns)"

// runTsnet serves the tailnet from a node of its own until ctx ends.
func runTsnet(ctx context.Context, c config, log *slog.Logger, stdout io.Writer) error {
	st, err := openState(ctx, c, log) // first: nobody else may be at work on it
	if err != nil {
		return err
	}
	defer st.close(log)
	c.dir = st.dir
	node, err := startNode(c, log)
	if err != nil {
		return err
	}
	defer node.Close()
	status, err := node.Up(ctx)
	if ctx.Err() != nil {
		return nil // asked to end while waiting for the login
	}
	if err != nil {
		return fmt.Errorf("joining tailnet: %w", err)
	}
	log.Info("the node is on the tailnet", "name", nodeName(status), "addresses", fmt.Sprint(status.TailscaleIPs))
	err = serveTsnet(ctx, c, st, log, stdout, node, status)
	// Unlike the system's, the network stack ends with this process, and with
	// it what it has still to send.
	<-time.After(lastAnswers)
	return err
}

// lastAnswers is how long answers may take to their clients, by a relay at the
// other end of the world.
const lastAnswers = 500 * time.Millisecond

// newNode returns the node that c describes, not started. c.dir is set: tsnet
// has a default of its own, which must be the directory of the other state.
func newNode(c config, log *slog.Logger) (*tsnet.Server, error) {
	key, err := readAuthKey(c.authKeyFile, log)
	if err != nil {
		return nil, err
	}
	hostinfo.SetApp("tsidp")
	node := &tsnet.Server{
		Dir:           c.dir,
		Hostname:      c.hostname,
		ControlURL:    c.controlURL,
		AuthKey:       key,
		AdvertiseTags: c.advertiseTags,
		UserLogf: func(format string, args ...any) {
			m := fmt.Sprintf(format, args...)
			if strings.Contains(m, "://") { // a person has to go there: the login
				log.Warn(m)
				return
			}
			log.Info(m)
		},
	}
	if c.debugTsnet {
		node.Logf = func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...), "component", "tsnet") }
	}
	return node, nil
}

// readAuthKey returns the auth key in the file at path, or none for an empty
// path. A missing file is no error: after the first start the state directory
// holds the login, and the key need not be around any more.
func readAuthKey(path string, log *slog.Logger) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		log.Warn("auth key file does not exist; going on without, as the state may hold a login", "path", path)
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading auth key file: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", fmt.Errorf("auth key file %s is empty", path)
	}
	return key, nil
}

// serveTsnet builds the provider of a node that is up and serves it.
func serveTsnet(ctx context.Context, c config, st *state, log *slog.Logger, stdout io.Writer, node *tsnet.Server, status *ipnstate.Status) error {
	issuer, own, err := chooseIssuer(c, status, log)
	if err != nil {
		return err
	}
	if err := st.checkIssuer(ctx, issuer, false); err != nil {
		return err
	}
	tailnet, err := node.LocalClient()
	if err != nil {
		return fmt.Errorf("asking tailnet node: %w", err)
	}
	certs, err := newCertificates(c, issuer, tailnet, log)
	if err != nil {
		return err
	}
	watch := &nameWatch{issuer: issuer, name: nodeName(status), status: tailnet.StatusWithoutPeers, log: log}
	cfg := st.providerConfig(c, log)
	cfg.Issuer, cfg.Tailnet = issuer, tailnet
	cfg.ClientFetch = c.clientFetch(node.Dial)
	cfg.Condition = func() string { return cmp.Or(certs.condition(), watch.condition()) }
	if certs.own == nil {
		// tsnetIssuer has seen that there is a name.
		cfg.Checks = []tsidp.Check{newCertificateCheck(status.CertDomains[0], tailnet.CertPair)}
	}
	p, err := tsidp.New(cfg)
	if err != nil {
		return fmt.Errorf("configuring provider: %w", err)
	}
	admin, err := st.adminEndpoint(p, issuer, log)
	if err != nil {
		return err
	}
	endpoints, err := tsnetEndpoints(c, log, node, status, certs, p, issuer)
	if err != nil {
		closeListeners([]endpoint{admin})
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	if certs.own == nil {
		certs.waiting.Store(true)
		background.Go(func() { certs.await(ctx, log, nodeName(status), fetchCertificate(tailnet)) })
	}
	if own {
		background.Go(func() { watch.run(ctx) })
	}
	go c.reloadOn(ctx, c.hangups, p, log)
	return serve(ctx, log, p, append(endpoints, admin), c.notify.after(func(ctx context.Context) error {
		if err := keepDeclared(ctx, c.clientsFile, p, log); err != nil {
			return err
		}
		_, err := fmt.Fprintf(stdout, "issuer: %s\n", issuer)
		return err
	}, log))
}

// nodeName returns the full name of a node, without trailing dot; empty if it
// has none.
func nodeName(status *ipnstate.Status) string {
	if status.Self == nil {
		return ""
	}
	return strings.TrimSuffix(status.Self.DNSName, ".")
}

// tsnetIssuer returns the issuer of a node with that status.
func tsnetIssuer(status *ipnstate.Status, port int) (string, error) {
	const where = dnsPage + "; or bring a name and a certificate of your own with -issuer, -tls-cert and -tls-key"
	switch {
	case status.Self == nil || status.CurrentTailnet == nil:
		return "", errors.New("the tailnet node does not know its own name")
	case !status.CurrentTailnet.MagicDNSEnabled:
		return "", errors.New("MagicDNS is off in this tailnet, so the provider has no name: switch it on at " + where)
	case len(status.CertDomains) == 0:
		return "", errors.New("HTTPS certificates are off in this tailnet, so the provider cannot serve TLS: switch them on at " + where)
	}
	host := nodeName(status)
	if host == "" {
		return "", errors.New("the tailnet node does not know its own name")
	}
	if port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return "https://" + host, nil
}

// tsnetEndpoints opens all listeners: what each exposes is read here.
func tsnetEndpoints(c config, log *slog.Logger, node *tsnet.Server, status *ipnstate.Status, certs *certificates, p *tsidp.Provider, issuer string) (_ []endpoint, err error) {
	var endpoints []endpoint
	defer func() {
		if err != nil {
			closeListeners(endpoints)
		}
	}()
	endpoints = append(endpoints, endpoint{listenFlows(node, c.port).withTLS(certs.config()), p.Handler(), p.ConnContext})
	if c.funnel {
		ln, err := listenFunnel(node, status, c.port, certs.config())
		if err != nil {
			return nil, err
		}
		// ConnContext, so that the provider sees that nobody is known.
		endpoints = append(endpoints, endpoint{ln, p.PublicHandler(), p.ConnContext})
		log.Info("serving public endpoints to the internet through Funnel", "name", nodeName(status), "port", c.port)
	}
	if c.port == 443 {
		ln, err := node.Listen("tcp", ":80")
		if err != nil {
			return nil, fmt.Errorf("listening on the tailnet: %w", err)
		}
		endpoints = append(endpoints, endpoint{ln, redirectTo(origin(issuer)), nil})
	}
	others, err := localEndpoints(c, log, p, issuer)
	if err != nil {
		return nil, err
	}
	return append(endpoints, others...), nil
}

func closeListeners(endpoints []endpoint) {
	for _, e := range endpoints {
		e.listener.Close()
	}
}

// origin returns an issuer without its path.
func origin(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer // never: the provider has accepted it
	}
	return u.Scheme + "://" + u.Host
}

// hostOf returns the host of an issuer, without port.
func hostOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return "" // never: the provider has accepted it
	}
	return u.Hostname()
}

// redirectTo leads browsers from plain HTTP to the same place at issuer, which
// has no path. Other methods are refused: to redirect them would make clients
// send their secrets in the clear each time, and nobody would notice.
func redirectTo(issuer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "this is plain HTTP: use "+issuer, http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("Location", issuer+target(r.URL))
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}

// target returns path and query of u as they go behind an origin. The path
// begins with a slash, whatever the request line was.
func target(u *url.URL) string {
	t := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	return "/" + strings.TrimPrefix(t.RequestURI(), "/")
}
