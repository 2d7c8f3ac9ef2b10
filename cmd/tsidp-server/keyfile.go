// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
)

// maxKeyFile is more than any form of a key needs.
const maxKeyFile = 1 << 10

// readKeyFile returns the key in the file at path, or nil for an empty path.
// The file holds 32 bytes, or their hexadecimal or base64 form.
func readKeyFile(path string, log *slog.Logger) (*[32]byte, error) {
	if path == "" {
		return nil, nil
	}
	advice := fmt.Sprintf("to make a new one: head -c 32 /dev/urandom > %s; chmod 600 %s", path, path)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w; %s", err, advice)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("reading key file %s: %w; %s", path, err, advice)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log.Warn("other users can read the key file: chmod 600 it", "path", path, "mode", info.Mode().Perm().String())
	}
	return key, nil
}

// parseKey reads the content of a key file. Its errors repeat none of it.
func parseKey(data []byte) (*[32]byte, error) {
	text := strings.TrimSpace(string(data))
	if half, err := hex.DecodeString(text); err == nil && len(half) == 16 {
		return nil, errors.New("the 32 hexadecimal digits are a key of 16 bytes, want 32 bytes")
	}
	if len(data) == 32 {
		return (*[32]byte)(data), nil
	}
	if key, err := hex.DecodeString(text); err == nil && len(key) == 32 {
		return (*[32]byte)(key), nil
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := e.Strict().DecodeString(text); err == nil && len(key) == 32 {
			return (*[32]byte)(key), nil
		}
	}
	return nil, fmt.Errorf("%d bytes are no key: want exactly 32 bytes, or 64 hexadecimal digits, or the base64 form of 32 bytes", len(data))
}
