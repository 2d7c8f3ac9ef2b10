// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/tailscale/tsidp"
)

// The socket by which the commands reach a running server. It is in the state
// directory; whoever can connect is an administrator, so three things guard
// it: the mode of the directory, the mode of the socket, and the user id of
// the peer.

// maxSocketPath: sun_path has 104 bytes on BSD systems, 108 on Linux.
const maxSocketPath = 100

// listenAdmin opens the socket in dir. What a process that has died left
// behind is replaced.
func listenAdmin(dir string, log *slog.Logger) (net.Listener, error) {
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("opening admin socket: the path %s has %d bytes, and systems take %d: use a -dir with a shorter path", path, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("opening admin socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("opening admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("opening admin socket: %w", err)
	}
	return &ownListener{UnixListener: ln, uid: os.Geteuid(), peerUID: peerUID, log: log}, nil
}

// removeStale removes a socket that nobody listens on. The lock of the
// database has said already that there is no other server, but not every
// server has a database here.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket: move it away", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return fmt.Errorf("another server answers at %s: stop it first, or use another directory", path)
	}
	return os.Remove(path)
}

// An ownListener accepts connections of this process's user, and of root.
type ownListener struct {
	*net.UnixListener
	uid     int
	peerUID func(*net.UnixConn) (int, error)
	log     *slog.Logger
}

// Accept implements [net.Listener].
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := l.peerUID(c)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return c, nil // here the modes have to do
		case err == nil && (uid == l.uid || uid == 0):
			return c, nil
		case err != nil:
			l.log.Warn("connection to the admin socket refused: asking for its user", "error", err)
		default:
			l.log.Warn("connection to the admin socket refused", "uid", uid)
		}
		c.Close()
	}
}

// adminEndpoint opens the admin socket of a server with that provider.
func (st *state) adminEndpoint(p *tsidp.Provider, issuer string, log *slog.Logger) (endpoint, error) {
	ln, err := listenAdmin(st.dir, log)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{ln, st.adminHandler(p, issuer), p.ConnContext}, nil
}

// adminHandler serves the commands. Its paths have none of the issuer's,
// which a command cannot know.
func (st *state) adminHandler(p *tsidp.Provider, issuer string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", st.serveBackup)
	mux.Handle("/", below(issuer, p.AdminHandler()))
	return mux
}

// below returns h for requests without the path of issuer.
func below(issuer string, h http.Handler) http.Handler {
	u, err := url.Parse(issuer)
	if err != nil || u.Path == "" {
		return h // no error: the provider has accepted it
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		if r.URL.RawPath != "" {
			r.URL.RawPath = u.Path + r.URL.RawPath // an issuer's path has no escapes
		}
		r.URL.Path = u.Path + r.URL.Path
		h.ServeHTTP(w, r)
	})
}

// backupMessage is what asks for a backup, and what answers.
type backupMessage struct {
	Path string `json:"path"` // absolute
}

// serveBackup answers POST /backup.
func (st *state) serveBackup(w http.ResponseWriter, r *http.Request) {
	var m backupMessage
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && t == "application/json" {
		err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&m)
	}
	switch {
	case err != nil || !filepath.IsAbs(m.Path):
		writeFailure(w, http.StatusBadRequest, "invalid_request", `the body must be JSON with an absolute "path"`)
		return
	case st.backup == nil:
		writeFailure(w, http.StatusBadRequest, "invalid_request", errNoFile.Error())
		return
	}
	// Copying may take longer than requests do elsewhere; the client may
	// leave, and then the backup is given up.
	control := http.NewResponseController(w)
	err = errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}))
	if err == nil {
		err = st.backup(r.Context(), m.Path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		writeFailure(w, http.StatusConflict, "conflict", err.Error())
	case errors.Is(err, fs.ErrPermission):
		writeFailure(w, http.StatusForbidden, "access_denied", fmt.Sprintf("%v: the server writes the file, as user id %d", err, os.Geteuid()))
	case err != nil:
		writeFailure(w, http.StatusInternalServerError, "server_error", err.Error())
	default:
		writeAnswer(w, http.StatusOK, m)
	}
}

// errNoFile is why there is no backup of a database that is no file.
var errNoFile = errors.New("the state is in PostgreSQL: back it up with pg_dump")

// A failure is the answer to a request that has failed, as in the API of the
// provider.
type failure struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func writeFailure(w http.ResponseWriter, status int, code, description string) {
	writeAnswer(w, status, failure{code, description})
}

func writeAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Headers are out: a failed write has no one left to tell.
	_ = json.NewEncoder(w).Encode(v)
}
