// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tailscale/hujson"
	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/admin"
)

// maxClientsFile bounds the file of -clients, in bytes.
const maxClientsFile = 16 << 20

// keepDeclared declares the clients of file, and again on each SIGHUP until
// ctx ends. A fault ends the start; later it changes nothing, and is logged.
// Without a file it does nothing.
func keepDeclared(ctx context.Context, file string, p *tsidp.Provider, log *slog.Logger) error {
	if file == "" {
		return nil
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	if err := declare(ctx, file, p, log); err != nil {
		signal.Stop(hangup)
		return err
	}
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
			}
			if err := declare(ctx, file, p, log); err != nil && ctx.Err() == nil {
				log.Error("the declared clients stay as they were", "error", err)
			}
		}
	}()
	return nil
}

// declare declares the clients of file once.
func declare(ctx context.Context, file string, p *tsidp.Provider, log *slog.Logger) error {
	source, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("reading clients: %w", err)
	}
	document, n, err := readDeclared(data, filepath.Dir(source), os.Getenv)
	if err == nil {
		err = p.DeclareClients(ctx, source, document)
	}
	if e, ok := errors.AsType[*admin.FieldError](err); ok {
		offset := e.Offset
		if plain, err := hujson.Standardize(data); err == nil && e.Field != "" {
			offset = admin.Locate(plain, e.Field)
		}
		return fmt.Errorf("reading clients: %s:%s: %w", file, position(data, offset), err)
	}
	if err != nil {
		return fmt.Errorf("declaring clients of %s: %w", file, err)
	}
	log.Info("clients declared", "file", file, "clients", n)
	return nil
}

// A declaredClient is a client in the file. Its secret is elsewhere.
type declaredClient struct {
	admin.Client
	SecretFile string `json:"secret_file,omitempty"` // beside the file, if it is not absolute
	SecretEnv  string `json:"secret_env,omitempty"`
}

// readDeclared makes the document for the provider of what is in a file: the
// same, without comments and with the secrets in it. Comments become blanks,
// so that offsets stay what they are.
func readDeclared(data []byte, dir string, getenv func(string) string) (document []byte, n int, err error) {
	if len(data) > maxClientsFile {
		return nil, 0, &admin.FieldError{Problem: fmt.Sprintf("the file has more than %d bytes", maxClientsFile)}
	}
	plain, err := hujson.Standardize(append([]byte(nil), data...))
	if err != nil {
		// The message has line and column.
		return nil, 0, err
	}
	var file struct {
		Clients []declaredClient `json:"clients"`
	}
	if err := admin.Decode(plain, &file); err != nil {
		return nil, 0, err
	}
	var out struct {
		Clients []admin.Client `json:"clients"`
	}
	if file.Clients != nil {
		out.Clients = []admin.Client{}
	}
	for i, c := range file.Clients {
		if err := c.fetchSecret(dir, getenv); err != nil {
			err.Field = fmt.Sprintf("clients[%d].%s", i, err.Field)
			return nil, 0, err
		}
		if c.RedirectURIs == nil {
			c.RedirectURIs = []string{}
		}
		out.Clients = append(out.Clients, c.Client)
	}
	document, err = json.Marshal(out)
	return document, len(out.Clients), err
}

// fetchSecret fills in the secret.
func (c *declaredClient) fetchSecret(dir string, getenv func(string) string) *admin.FieldError {
	switch {
	case c.Secret != "":
		return &admin.FieldError{Field: "client_secret", Problem: "does not belong into this file: name a secret_file or a secret_env"}
	case c.SecretFile != "" && c.SecretEnv != "":
		return &admin.FieldError{Field: "secret_env", Problem: "there is a secret_file too: want one of them"}
	case c.SecretFile != "":
		path := c.SecretFile
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		var err error
		if c.Secret, err = readSecret(path); err != nil {
			return &admin.FieldError{Field: "secret_file", Problem: err.Error()}
		}
	case c.SecretEnv != "":
		if c.Secret = getenv(c.SecretEnv); c.Secret == "" {
			return &admin.FieldError{Field: "secret_env", Problem: fmt.Sprintf("the variable %s is not set", c.SecretEnv)}
		}
	}
	return nil
}
