// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// healthTimeout bounds a health check: supervisors wait about as long.
const healthTimeout = 8 * time.Second

// A health is the answer of /readyz, or of /healthz, which has no checks.
type health struct {
	Status string `json:"status"`
	Checks []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		State  string `json:"state"`
		Detail string `json:"detail"`
	} `json:"checks"`
}

// health asks path of the server.
func (c *adminClient) health(ctx context.Context, path string) (ok bool, h health, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return false, h, err
	}
	res, err := c.client.Do(r)
	if err != nil {
		return false, h, fmt.Errorf("asking the server: %w", err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&h); err != nil || h.Status == "" {
		return false, h, fmt.Errorf("the server answers %d to %s, and not as tsidp-server does", res.StatusCode, path)
	}
	return res.StatusCode == http.StatusOK, h, nil
}

// runHealthcheck is the command healthcheck.
func runHealthcheck(ctx context.Context, inv *invocation) error {
	c, err := dialHealth(inv.config)
	if err != nil {
		return err
	}
	path := "/healthz"
	if inv.ready {
		path = "/readyz"
	}
	ok, h, err := c.health(ctx, path)
	if err = errors.Join(err, c.close()); err != nil {
		return err
	}
	for _, check := range h.Checks {
		if !check.OK {
			fmt.Fprintf(inv.out, "%s: %s\n", check.Name, check.State)
		}
	}
	if !ok {
		return errors.New("the server says: " + h.Status)
	}
	_, err = fmt.Fprintln(inv.out, h.Status)
	return err
}

// dialHealth returns a client for the server that c describes: by its socket,
// or its port if it is one of -dev, which may have no socket.
func dialHealth(c config) (*adminClient, error) {
	if c.dev && c.dir == "" {
		port := c.localPort
		if port < 0 {
			port = devPort
		}
		if port == 0 {
			return nil, usageError{errors.New("which port? Give the -local-port that the server has")}
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}}
		return &adminClient{&http.Client{Transport: t}, func() error { t.CloseIdleConnections(); return nil }}, nil
	}
	client, err := dialServer(c)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, noServer(c)
	}
	return client, nil
}

// noServer is the error when no server answers for the state directory.
func noServer(c config) error {
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	return fmt.Errorf("no server answers at %s: it is starting, waits for its login to the tailnet, has ended, or has another -dir", filepath.Join(dir, socketName))
}

// mends says, by the name of a check, what helps when it fails.
var mends = map[string]string{
	"store":       "is the disk full, or the database away? The server goes on by itself when it answers again",
	"keys":        "the server is starting; its log says what it waits for",
	"tailnet":     "log the node in again: the server's log shows the URL, or start it with an auth key",
	"node_key":    "switch key expiry off for the node in the admin console (https://login.tailscale.com/admin/machines), or log it in again",
	"certificate": "HTTPS certificates must be on at the DNS page of the admin console (https://login.tailscale.com/admin/dns); the first takes up to a minute",
}

// A checkReport prints what is well and what is not, line by line.
type checkReport struct {
	w      io.Writer
	failed int
}

func (r *checkReport) ok(name, format string, args ...any) {
	fmt.Fprintf(r.w, "ok    %-12s %s\n", name, fmt.Sprintf(format, args...))
}

func (r *checkReport) fail(name string, err error, mend string) {
	r.failed++
	fmt.Fprintf(r.w, "FAIL  %-12s %v\n", name, err)
	if mend != "" {
		fmt.Fprintf(r.w, "      %-12s mend: %s\n", "", mend)
	}
}

// runCheck is the command check. It changes nothing but what opening the
// store does.
func runCheck(ctx context.Context, inv *invocation) error {
	r := &checkReport{w: inv.out}
	// Whoever is here has been through parseConfig.
	r.ok("options", "no flag and no variable is wrong")
	if len(inv.config.ignored) > 0 {
		r.ok("ignored", "with -dev: %v", inv.config.ignored)
	}
	c, err := dialServer(inv.config)
	switch {
	case err != nil:
		r.fail("server", err, "")
	case c != nil:
		checkServer(ctx, r, c)
	case inv.config.dev && inv.config.dir == "" && inv.config.store == "":
		r.ok("store", "memory: everything is lost at the end")
	default:
		r.ok("server", "none runs with this state: what only a running one knows (tailnet, certificate) is not checked")
		checkState(ctx, r, inv)
	}
	if r.failed > 0 {
		return fmt.Errorf("%d of the checks failed", r.failed)
	}
	return nil
}

// checkServer asks a running server. It closes c.
func checkServer(ctx context.Context, r *checkReport, c *adminClient) {
	defer c.close()
	_, h, err := c.health(ctx, "/readyz")
	if err != nil {
		r.fail("server", err, "")
		return
	}
	r.ok("server", "one runs with this state")
	failed := r.failed
	for _, check := range h.Checks {
		if check.OK {
			r.ok(check.Name, "%s", check.State)
			continue
		}
		r.fail(check.Name, fmt.Errorf("%s: %s", check.State, check.Detail), mends[check.Name])
	}
	if r.failed == failed { // else it may know no policy
		checkPolicy(ctx, r, c)
	}
}

// maxPolicyLines bounds what is told about the policy.
const maxPolicyLines = 20

// checkPolicy tells what is wrong with the rules of the tailnet's policy.
func checkPolicy(ctx context.Context, r *checkReport, c *adminClient) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := c.call(ctx, http.MethodGet, policyPath+"/check", nil)
	if err != nil {
		r.fail("policy", err, "")
		return
	}
	var report admin.PolicyReport
	if err := json.Unmarshal(body, &report); err != nil {
		r.fail("policy", fmt.Errorf("reading answer: %w", err), "")
		return
	}
	lines := 0
	for _, rule := range report.Rules {
		for _, p := range rule.Problems {
			if lines++; lines <= maxPolicyLines {
				r.fail("policy", fmt.Errorf("rule %d of %s: %s", p.Index, nodesOf(rule), p.Text), "correct it in the policy file (https://login.tailscale.com/admin/acls): "+clipped(string(rule.Rule)))
			}
		}
	}
	switch {
	case lines > maxPolicyLines:
		r.fail("policy", fmt.Errorf("and %d more faults, which GET %s/check lists", lines-maxPolicyLines, policyPath), "")
	case lines == 0:
		r.ok("policy", "%d nodes, %d different rules", report.Nodes, len(report.Rules))
	}
	if report.LeftOut > 0 {
		r.ok("policy", "%d nodes and rules are too many to be looked at", report.LeftOut)
	}
}

// nodesOf names the nodes that have the rule.
func nodesOf(rule admin.PolicyRule) string {
	if len(rule.Nodes) == 0 {
		return "no node"
	}
	s := peerName(rule.Nodes[0].Peer)
	if n := rule.NodeCount - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// peerName names a node for people.
func peerName(p admin.Peer) string {
	if p.User == "" {
		return printable(p.Name)
	}
	return printable(p.Name) + " (" + printable(p.User) + ")"
}

// clipped is s on one line of bearable length.
func clipped(s string) string {
	const most = 160
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return printable(s)
}

// checkState looks at the state that no server has open, and leaves it as it
// is: what is not there is not made.
func checkState(ctx context.Context, r *checkReport, inv *invocation) {
	c := inv.config
	dir, err := c.stateDir()
	if err != nil {
		r.fail("directory", err, "")
		return
	}
	present := true
	if dir != "" {
		_, err := os.ReadDir(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			present = false
			r.ok("directory", "%s does not exist: the first start makes it", dir)
		case err != nil:
			r.fail("directory", err, "run as the user of the server, and give the directory to it")
			return
		default:
			r.ok("directory", "%s", dir)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, databaseName)); c.store == "" && errors.Is(err, fs.ErrNotExist) {
		present = false
		r.ok("store", "there is none: the first start makes it")
		if _, err := readKeyFile(c.keyFile, inv.log); err != nil {
			r.fail("key file", err, "")
		}
	}
	if c.store != "" || present {
		checkStore(ctx, r, inv)
	}
	if !c.dev {
		checkLogin(r, c, dir)
	}
}

// checkStore opens the store, which locks it for a moment and names whoever
// holds it, and reads whose it is.
func checkStore(ctx context.Context, r *checkReport, inv *invocation) {
	c := inv.config
	open := c
	if c.store != "" {
		open.dir, open.dev = "", true // which needs no directory and makes none
	}
	st, err := openState(ctx, open, inv.log)
	if err != nil {
		r.fail("store", err, "")
		return
	}
	defer st.close(inv.log)
	issuer, development, err := tsidp.StoredIssuer(ctx, st.store)
	switch {
	case errors.Is(err, store.ErrNotFound):
		r.ok("store", "%s is empty: the first start makes its keys", st.place)
		return
	case err != nil:
		r.fail("store", err, "")
		return
	}
	if c.issuer != "" || development != c.dev {
		if c.issuer == "" {
			c.issuer = issuer
		}
		if err := st.checkIssuer(ctx, c.issuer, c.dev); err != nil {
			r.fail("issuer", err, "")
			return
		}
	}
	r.ok("store", "%s, of the issuer %s", st.place, issuer)
}

// checkLogin tells how the node will log in.
func checkLogin(r *checkReport, c config, dir string) {
	if _, err := os.Stat(filepath.Join(dir, nodeStateName)); err == nil {
		r.ok("login", "the directory holds the node's login")
		return
	}
	if c.authKeyFile == "" {
		r.ok("login", "none yet: by an auth key in the environment, or the first start logs a URL where somebody logs the node in")
		return
	}
	info, err := os.Stat(c.authKeyFile)
	if err == nil && info.Size() == 0 {
		err = fmt.Errorf("%s is empty", c.authKeyFile)
	}
	if err != nil {
		r.fail("login", fmt.Errorf("there is none yet, and no auth key: %w", err), "write a new auth key into the file")
		return
	}
	r.ok("login", "by the auth key in %s", c.authKeyFile)
}
