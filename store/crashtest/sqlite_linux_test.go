// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tailscale/tsidp/store/sqlite"
)

var long = flag.Bool("long", false, "run the long forms of the tests that have one")

// childEnv makes the test binary a child: "round,mutant,path".
const childEnv = "TSIDP_CRASHTEST_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := child(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// child runs a load until its standard input ends, and tells of it on its
// standard output.
func child(spec string) error {
	f := strings.SplitN(spec, ",", 3)
	if len(f) != 3 {
		return fmt.Errorf("bad %s: %q", childEnv, spec)
	}
	round, err := strconv.Atoi(f[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	real, err := sqlite.Open(ctx, f[2])
	if err != nil {
		return err
	}
	st, err := mutate(real, f[1], f[2])
	if err != nil {
		return errors.Join(err, real.Close())
	}
	go func() {
		defer cancel()
		io.Copy(io.Discard, os.Stdin)
	}()
	// A line is one write, which a pipe takes as a whole.
	load{store: st, round: round, tell: func(e event) { fmt.Println(e) }}.run(ctx)
	return st.Close()
}

// A moment is when a child is killed.
type moment struct {
	acked int // operations it has acknowledged
	after time.Duration
	stop  bool // not killed: asked to end
}

// kill spreads the moments of n rounds evenly: over the first 150
// acknowledgements, and over 4 ms after one, in an order of its own.
func kill(round, n int) moment {
	return moment{acked: 1 + 150*round/n, after: 4 * time.Millisecond * time.Duration(round*7%10) / 10}
}

// runChild runs a child, notes what it tells, and kills it. It reports whether
// that happened inside a transaction.
func runChild(t *testing.T, h *history, path, mutant string, m moment) (inside bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d,%s,%s", childEnv, h.round, mutant, path))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{})
	read := make(chan error, 1)
	go func() { read <- listen(h, stdout, m.acked, reached) }()
	<-reached
	var problem error
	if m.stop {
		problem = stdin.Close()
	} else {
		timer := time.NewTimer(m.after)
		<-timer.C
		inside, problem = killProcess(cmd.Process, path)
	}
	problem = errors.Join(problem, <-read)
	err = cmd.Wait()
	if killed := err != nil && cmd.ProcessState.ExitCode() == -1; problem != nil || killed == m.stop {
		t.Fatalf("round %d: %v, %v; the child says: %s", h.round, problem, err, &stderr)
	}
	return inside
}

// listen notes what r tells until it ends. It closes reached after n
// acknowledgements, or if there will be none.
func listen(h *history, r io.Reader, n int, reached chan<- struct{}) error {
	once := sync.OnceFunc(func() { close(reached) })
	defer once()
	lines := bufio.NewScanner(r)
	goal := h.acked + n
	for lines.Scan() {
		e, err := parseEvent(lines.Text())
		if err == nil {
			err = h.add(e)
		}
		if err != nil {
			once()
			io.Copy(io.Discard, r)
			return fmt.Errorf("%w (%s)", err, lines.Text())
		}
		if h.acked >= goal {
			once()
		}
	}
	return lines.Err()
}

// killProcess kills a process with SIGKILL, and reports whether it held the
// lock of SQLite's writers, as it does from BEGIN IMMEDIATE until COMMIT is
// over. The process is stopped for the look, so that it is killed where it was
// seen.
func killProcess(p *os.Process, path string) (inside bool, err error) {
	if err := p.Signal(unix.SIGSTOP); err != nil {
		return false, err
	}
	var info unix.Siginfo
	for {
		err = unix.Waitid(unix.P_PID, p.Pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		inside, err = writing(path, p.Pid)
	}
	return inside, errors.Join(err, p.Kill())
}

// writing reports whether a process has a write transaction open. In WAL mode
// that is a lock on byte 120 of the file of shared memory (UNIX_SHM_BASE +
// WAL_WRITE_LOCK, https://www.sqlite.org/walformat.html#wal_locks).
func writing(path string, pid int) (bool, error) {
	f, err := os.OpenFile(path+"-shm", os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: 120, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK && int(lock.Pid) == pid, nil
}

// inspect opens the database and returns what is wrong with it.
func inspect(t *testing.T, h *history, path string, since int) (faults []string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatalf("round %d: opening after the end: %v", h.round, err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := integrity(t, path); got != "ok" {
		return []string{"integrity_check: " + got}
	}
	return verify(t.Context(), s, h, since)
}

// integrity returns what SQLite finds in an open database.
func integrity(t *testing.T, path string) (found string) {
	t.Helper()
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "_pragma=query_only(1)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&found); err != nil {
		t.Fatal(err)
	}
	var orphans int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pragma_foreign_key_check").Scan(&orphans); err != nil {
		t.Fatal(err)
	}
	if orphans > 0 {
		found += fmt.Sprintf(", %d orphans", orphans)
	}
	return found
}

func TestSQLite(t *testing.T) {
	rounds, wantInside := 10, 0
	if *long {
		rounds, wantInside = 200, 20
	}
	path := filepath.Join(t.TempDir(), "tsidp.db")
	h := newHistory()
	inside, inFlight := 0, 0
	for h.round = range rounds {
		if runChild(t, h, path, "", kill(h.round, rounds)) {
			inside++
		}
		inFlight += h.inFlight()
		since := h.round
		if h.round%20 == 19 || h.round == rounds-1 {
			since = 0
		}
		for _, fault := range inspect(t, h, path, since) {
			t.Errorf("round %d: %s", h.round, fault)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d of them inside a transaction; %d operations acknowledged, %d in flight", rounds, inside, h.acked, inFlight)
	if inside < wantInside {
		t.Errorf("%d of %d kills inside a transaction, want at least %d", inside, rounds, wantInside)
	}
}

// The verification finds what is wrong with a store that is wrong only when it
// is killed, and nothing when it ends as it should.
func TestMutants(t *testing.T) {
	const rounds = 30
	for _, mutant := range []string{mutantEarlyAck, mutantTwoCommits} {
		t.Run(mutant, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tsidp.db")
			h := newHistory()
			runChild(t, h, path, mutant, moment{acked: 50, stop: true})
			if faults := inspect(t, h, path, 0); len(faults) > 0 {
				t.Fatalf("without a kill: %s", strings.Join(faults, "\n"))
			}
			for h.round = 1; h.round <= rounds; h.round++ {
				runChild(t, h, path, mutant, kill(h.round, rounds))
				if faults := inspect(t, h, path, h.round); len(faults) > 0 {
					t.Logf("found in round %d: %s", h.round, faults[0])
					return
				}
			}
			t.Errorf("not found in %d rounds", rounds)
		})
	}
}
