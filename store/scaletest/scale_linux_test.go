// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package scaletest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/sqlite"
)

var long = flag.Bool("long", false, "run the long forms of the tests that have one")

// childEnv makes the test binary a provider: what is in it is a spec.
const childEnv = "TSIDP_SCALETEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// median returns the middle one of some durations, which it sorts.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// calls are what is measured, and how much longer each may take with many
// grants than with few.
//
// A read of the store by itself is so short (20 µs) that the three or four
// pages which it finds in no cache of the processor show. They are a small
// part of the introspection for which it is made.
var calls = [...]struct {
	name string
	most float64
}{
	{"refreshing at the token endpoint", 1.3},
	{"introspection of a refresh token", 1.3},
	{"introspection of an access token", 1.3},
	{"Store.Rotate", 1.3},
	{"Store.Refresh", 3},
	{"Store.Get", 3},
}

const (
	// In the default form others may use the machine too.
	mostInDefault = 4
	// How many MB more memory many grants may take.
	mostMemory = 20
)

func TestManyGrants(t *testing.T) {
	few, many, turns := 1000, 10_000, 5
	if *long {
		many, turns = 1_000_000, 31
	}
	a, b := newMeasured(t, few), newMeasured(t, many)
	var tookFew, tookMany [len(calls)][]time.Duration // medians of each turn
	for range turns {
		for i := range calls {
			tookFew[i] = append(tookFew[i], a.turn(t, i))
			tookMany[i] = append(tookMany[i], b.turn(t, i))
		}
	}
	for i, call := range calls {
		most := call.most
		if !*long {
			most = mostInDefault
		}
		// What else the machine does slows one side or the other down, and
		// speeds up none: the quietest turns say what the calls cost.
		less, more := slices.Min(tookFew[i]), slices.Min(tookMany[i])
		ratio := float64(more) / float64(less)
		t.Logf("%s: %v with %d grants, %v with %d: %.2f times (at most %.2f); over all turns %v and %v",
			call.name, less, few, more, many, ratio, most, median(tookFew[i]), median(tookMany[i]))
		if ratio > most {
			t.Errorf("%s takes %.2f times as long with %d grants as with %d, want at most %.2f", call.name, ratio, many, few, most)
		}
	}
	extra := float64(b.resident-a.resident) * 1024 / 1e6
	t.Logf("resident memory: %d KiB with %d grants, %d KiB with %d: %.1f MB more (at most %d)", a.resident, few, b.resident, many, extra, mostMemory)
	if extra > mostMemory {
		t.Errorf("%d grants take %.1f MB more memory than %d, want at most %d", many, extra, few, mostMemory)
	}
}

// A spec says what a child opens.
type spec struct {
	n      int    // grants
	id     string // of the client
	secret string
	path   string // of the database
}

func (s spec) String() string { return fmt.Sprintf("%d %s %s %q", s.n, s.id, s.secret, s.path) }

func parseSpec(text string) (s spec, err error) {
	_, err = fmt.Sscanf(text, "%d %s %s %q", &s.n, &s.id, &s.secret, &s.path)
	return s, err
}

// A measured is a provider in a process of its own.
type measured struct {
	in       io.Writer
	out      *bufio.Reader
	resident int // KiB, after the last turn
}

// newMeasured starts a provider with n grants.
func newMeasured(t *testing.T, n int) *measured {
	t.Helper()
	dir := roomyDir(t)
	if !*long { // where nothing waits for a disk, a rotation is all CPU
		return startMeasured(t, populate(t, filepath.Join(dir, "tsidp.db"), n))
	}
	s := populate(t, filepath.Join(dir, "tsidp.db"), n)
	disk := filepath.Join(t.TempDir(), "tsidp.db")
	if err := copyFile(disk, s.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	s.path = disk
	return startMeasured(t, s)
}

func startMeasured(t *testing.T, s spec) *measured {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+s.String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("provider with %d grants: %v", s.n, err)
		}
	})
	return &measured{in: in, out: bufio.NewReader(out)}
}

// turn lets the provider make some calls of a sort, and returns their median.
func (m *measured) turn(t *testing.T, call int) (took time.Duration) {
	t.Helper()
	if _, err := fmt.Fprintln(m.in, call); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(m.out, &took, &m.resident); err != nil {
		t.Fatalf("answer of the provider: %v", err)
	}
	return took
}

// roomyDir returns a directory in memory, if there is one with room for a
// million grants: to open them takes a disk much longer.
func roomyDir(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "tsidp-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// populate makes a database in which n people have logged in once: one has,
// and the others are copies.
func populate(t *testing.T, path string, n int) spec {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProvider(db)
	if err != nil {
		t.Fatal(err)
	}
	s := spec{n: n, path: path}
	if s.id, s.secret, err = p.register(); err == nil {
		err = p.login(s.id, s.secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	page, err := db.List(t.Context(), store.Query{Kind: store.KindGrant, Now: now()})
	if err != nil || len(page.Records) != 1 {
		t.Fatalf("%d grants after one login, %v", len(page.Records), err)
	}
	var all sync.WaitGroup
	const workers = 64
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < n; i += workers {
				if err := db.Redeem(t.Context(), redemption(page.Records[0], i)); err != nil {
					t.Errorf("opening grant %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(p.close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	return s
}

// redemption opens grant i, as a copy of another.
func redemption(g store.Record, i int) store.Redemption {
	g.ID = grantID(i)
	return store.Redemption{
		Grant: g, IssuedAt: now(), Now: now(),
		Refresh: &store.Refresh{Hash: hash(firstToken(i)), Grant: g.ID, CreatedAt: now(), ExpiresAt: now().Add(24 * time.Hour)},
	}
}

func hash(token string) store.Hash { return sha256.Sum256([]byte(token)) }

// A population is the grants of populate, with a provider.
type population struct {
	spec
	db     *sqlite.Store
	p      *provider
	tokens map[int]string // of grants that have been rotated
	access []string       // access tokens, all of them valid
	random *rand.Rand
}

// token returns the refresh token of a grant.
func (p *population) token(i int) string {
	if token, ok := p.tokens[i]; ok {
		return token
	}
	return firstToken(i)
}

// The calls that are measured, in their order.
func (p *population) calls() [len(calls)]func(i int) error {
	ctx := context.Background()
	return [...]func(i int) error{
		func(i int) error {
			refresh, access, err := p.p.refresh(p.id, p.secret, p.token(i))
			p.tokens[i], p.access = refresh, append(p.access, access)
			return err
		},
		func(i int) error { return p.p.introspect(p.id, p.secret, p.token(i)) },
		func(i int) error { return p.p.introspect(p.id, p.secret, p.access[i%len(p.access)]) },
		func(i int) error {
			old := p.token(i)
			p.tokens[i] = newToken(old)
			_, err := p.db.Rotate(ctx, store.Rotation{
				Old: hash(old), Next: hash(p.tokens[i]), Now: now(), Grace: time.Minute,
				NextExpiresAt: now().Add(24 * time.Hour), GrantExpiresAt: now().Add(24 * time.Hour),
			})
			return err
		},
		func(i int) error {
			_, _, err := p.db.Refresh(ctx, hash(p.token(i)), now())
			return err
		},
		func(i int) error {
			_, err := p.db.Get(ctx, store.KindGrant, grantID(i), now())
			return err
		},
	}
}

// turn makes some calls of a sort, one after the other, for grants at random,
// and returns their median.
func (p *population) turn(i int) (time.Duration, error) {
	call := p.calls()[i]
	var took []time.Duration
	for range 200 {
		grant := p.random.IntN(p.n)
		begin := time.Now()
		err := call(grant)
		took = append(took, time.Since(begin))
		if err != nil {
			return 0, fmt.Errorf("%s of grant %d: %w", calls[i].name, grant, err)
		}
	}
	return median(took), nil
}

// crowd lets many read at once, so that all connections have been in use.
func (p *population) crowd() error {
	const readers = 64
	errs := make(chan error, readers)
	for reader := range readers {
		go func() {
			var err error
			for i := range 200 {
				_, e := p.db.Get(context.Background(), store.KindGrant, grantID((reader+i*readers)*7919%p.n), now())
				err = errors.Join(err, e)
			}
			errs <- err
		}()
	}
	var err error
	for range readers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// child is the process of a measured: each line of its input is the number of
// a sort of calls.
func child(text string) error {
	s, err := parseSpec(text)
	if err != nil {
		return err
	}
	db, err := sqlite.Open(context.Background(), s.path)
	if err != nil {
		return err
	}
	p, err := newProvider(db)
	if err != nil {
		return err
	}
	pop := &population{spec: s, db: db, p: p, tokens: make(map[int]string), random: rand.New(rand.NewPCG(1, 2))}
	if err := pop.crowd(); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		call, err := strconv.Atoi(in.Text())
		if err != nil {
			return err
		}
		took, err := pop.turn(call)
		if err != nil {
			return err
		}
		fmt.Println(int64(took), resident())
	}
	return errors.Join(p.close(), db.Close())
}

// resident returns how many KiB of memory this process has.
func resident() (n int) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n
		}
	}
	return 0
}
