// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A directory is where the state files are. An [fs.FS] cannot write.
type directory struct {
	files fs.FS
	path  string // for people
}

func (d directory) join(name string) string { return filepath.Join(d.path, name) }

// A format is one sort of state file, which holds a T.
type format[T any] struct {
	limit    int64 // bytes of the largest file
	parse    func(data []byte) (T, error)
	describe func(T) string // what a file holds, behind "holds"
	without  string         // what starting without the file means, behind "start"
}

// readFile reads and parses one file. It is found if there is one.
func readFile[T any](d directory, name string, f format[T]) (v T, found bool, err error) {
	data, err := d.load(name, f.limit)
	if data == nil || err != nil {
		return v, false, err
	}
	v, err = f.parse(data)
	if err != nil {
		return v, false, fmt.Errorf("reading %s: %s; %s", d.join(name), describeFlaw(data, err), remedy(d, name, f))
	}
	return v, true, nil
}

// load returns what the file holds. Both results are nil if there is none.
func (d directory) load(name string, limit int64) ([]byte, error) {
	data, err := d.loadRegular(name, limit)
	switch {
	case err == nil:
		return data, nil
	case errors.Is(err, fs.ErrNotExist):
		// A link into nothing is not "no file": the state exists, and what
		// holds it is not mounted.
		if target, linkErr := fs.ReadLink(d.files, name); linkErr == nil {
			return nil, fmt.Errorf("reading %s: it is a symbolic link to %s, which does not exist; mount or create what it "+
				"points to, or remove the link", d.join(name), shellQuote(target))
		}
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("reading %s: user id %d may not read it: %w; make the file, and the directories above it, readable "+
			"for that user: chown %[2]d %[4]s", d.join(name), os.Geteuid(), fs.ErrPermission, shellQuote(d.join(name)))
	}
	return nil, fmt.Errorf("reading %s: %w", d.join(name), err)
}

// loadRegular reads a regular file. The result is not nil if the error is.
func (d directory) loadRegular(name string, limit int64) ([]byte, error) {
	// Asked before it is opened, since opening a pipe waits for a writer.
	info, err := fs.Stat(d.files, name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory; move it away and put the file in its place")
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file; move it away and put the file in its place")
	}
	file, err := d.files.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it is larger than %d MiB, which no state file is; put back a copy of it, or move it away", limit>>20)
	}
	return data, nil
}

// describeFlaw says where in data the flaw is, and what.
func describeFlaw(data []byte, err error) string {
	f, ok := errors.AsType[*flaw](err)
	if !ok || f.offset < 0 {
		return err.Error()
	}
	line, column := position(trimBOM(data), f.offset)
	return fmt.Sprintf("line %d, column %d: %v", line, column, err)
}

// remedy says how to go on with a broken file, so that it is kept.
func remedy[T any](d directory, name string, f format[T]) string {
	path := shellQuote(d.join(name))
	move := fmt.Sprintf("mv %s %s", path, shellQuote(d.join(d.unused(name+".broken"))))
	if copied, v, found := newestCopy(d, name, f); found {
		return fmt.Sprintf("%s is complete and holds %s, restore it with: %s && cp -p %s %s",
			d.join(copied), f.describe(v), move, shellQuote(d.join(copied)), path)
	}
	return fmt.Sprintf("put back a copy of the file, or start %s: %s", f.without, move)
}

// unused returns name, or the first of name-2, name-3, … that does not exist.
func (d directory) unused(name string) string {
	free := name
	for n := 2; d.exists(free) && n < 1000; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

// maxCopies bounds how many copies of a broken file are looked at.
const maxCopies = 20

// newestCopy finds the copy of a broken file (name.tmp, name.bak, name~, …)
// that parses and was written last.
func newestCopy[T any](d directory, name string, f format[T]) (copied string, v T, found bool) {
	candidates, err := fs.Glob(d.files, name+"[.~]*")
	if err != nil {
		return "", v, false
	}
	var newest time.Time
	for _, c := range candidates[:min(len(candidates), maxCopies)] {
		info, err := fs.Stat(d.files, c)
		if err != nil || found && !info.ModTime().After(newest) {
			continue
		}
		data, err := d.load(c, f.limit)
		if data == nil || err != nil {
			continue
		}
		if parsed, err := f.parse(data); err == nil {
			copied, v, found, newest = c, parsed, true, info.ModTime()
		}
	}
	return copied, v, found
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	special := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+,:@%", r))
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
