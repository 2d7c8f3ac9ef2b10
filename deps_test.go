// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"go/parser"
	"go/token"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tailscale/tsidp"

// A goPackage is what go list says of a package.
type goPackage struct {
	imports []string // by its own files, tests aside
	deps    []string // all, the standard library too
}

// goList asks about the packages of this module.
func goList(t *testing.T) map[string]goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}|{{join .Imports ","}}|{{join .Deps ","}}`, "./...").Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			t.Fatalf("go list: %v\n%s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	packages := make(map[string]goPackage)
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		packages[fields[0]] = goPackage{strings.Split(fields[1], ","), strings.Split(fields[2], ",")}
	}
	return packages
}

// within reports whether path is the package prefix or below it.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// TestDeps: what an embedder imports brings along no more than it must. Each
// ban has its reason.
func TestDeps(t *testing.T) {
	packages := goList(t)
	t.Run("imports go one way", func(t *testing.T) { checkDirections(t, packages) })
	for _, ban := range []struct{ path, reason string }{
		{"tailscale.com/tsnet", "an embedder may use the host's tailscaled; tsnet is 300 packages and a network stack"},
		{"gvisor.dev/gvisor", "comes with tsnet, and so does this"},
		{"tailscale.com/wgengine/magicsock", "the provider asks a node, it is none"},
		{"tailscale.com/ipn/ipnlocal", "the provider asks a node, it is none"},
		{"modernc.org/sqlite", "a database is a choice of whoever passes Config.Store"},
		{"github.com/mattn/go-sqlite3", "a database is a choice of whoever passes Config.Store, and cgo stops cross-compiling"},
		{"github.com/jackc/pgx", "a database is a choice of whoever passes Config.Store"},
		{"github.com/lib/pq", "a database is a choice of whoever passes Config.Store"},
		{module + "/store/memory", "forgetting everything is a choice that is said aloud: memory.New()"},
		{"github.com/prometheus", "an embedder has a metrics client of its own, or none"},
		{"go.opentelemetry.io/otel/sdk", "the engine's traces go nowhere unless the embedder wants them"},
		{"go.opentelemetry.io/otel/exporters", "the engine's traces go nowhere unless the embedder wants them"},
		{"github.com/modelcontextprotocol/go-sdk", "MCP servers are clients of the provider, it speaks OAuth with them"},
		{"github.com/mark3labs/mcp-go", "MCP servers are clients of the provider, it speaks OAuth with them"},
		{"github.com/stretchr/testify", "tests use package testing and go-cmp"},
		{"github.com/google/go-cmp", "is for tests, which embedders do not build"},
		{"github.com/rogpeppe/go-internal", "is for tests, which embedders do not build"},
		{"testing", "is for tests, which embedders do not build"},
		{"net/http/httptest", "is for tests, which embedders do not build"},
		{"github.com/coreos/go-oidc", "is a relying party's library; the provider is the other side"},
		{"github.com/aws", "comes with the workload identity of the program's own node"},
		{"github.com/spf13", "flags and configuration files belong to programs"},
		{module + "/cmd", "imports go one way"},
		{module + "/internal/tailnettest", "a real tailnet is for tests"},
	} {
		for _, dep := range packages[module].deps {
			if within(dep, ban.path) {
				t.Errorf("package tsidp depends on %s: %s", dep, ban.reason)
			}
		}
	}
	// Exactly this one: google/uuid has its driver interface.
	if slices.Contains(packages[module].deps, "database/sql") {
		t.Error("package tsidp depends on database/sql: a database is a choice of whoever passes Config.Store")
	}
	if n := len(packages[module].deps); n < 100 {
		t.Errorf("go list knows of %d dependencies only: this test tests nothing", n)
	}
}

// checkDirections: cmd → tsidp → store ← store/…; tsidp → internal/….
func checkDirections(t *testing.T, packages map[string]goPackage) {
	for path, p := range packages {
		local := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
		not := func(reason string, bans ...string) {
			t.Helper()
			for _, dep := range p.deps {
				if slices.ContainsFunc(bans, func(ban string) bool { return within(dep, ban) }) {
					t.Errorf("%s depends on %s: %s", local, dep, reason)
				}
			}
		}
		direct := func(reason string, allowed func(string) bool) {
			t.Helper()
			for _, imported := range p.imports {
				if imported != "" && strings.Contains(strings.Split(imported, "/")[0], ".") && !allowed(imported) {
					t.Errorf("%s imports %s: %s", local, imported, reason)
				}
			}
		}
		if local != "" && slices.Contains(p.imports, module+"/internal/safefetch") {
			t.Errorf("%s imports internal/safefetch: the provider alone fetches what clients name", local)
		}
		// Those above the root package: programs, and what tests run it with.
		above := within(local, "cmd") || local == "tsidptest" || local == "internal/recipes/recipetest"
		if local != "" && !above && slices.Contains(p.deps, module) {
			t.Errorf("%s depends on the root package: imports go one way", local)
		}
		switch {
		case local == "internal/oauth":
			not("values only, without I/O and HTTP", "net/http", module)
			direct("the standard library is enough", func(string) bool { return false })
			for _, path := range []string{"os", "io", "time", "context", "net", "log", "log/slog"} {
				if slices.Contains(p.imports, path) {
					t.Errorf("%s imports %s: values only, without I/O and clock", local, path)
				}
			}
		case local == "internal/jwt":
			not("values only, without I/O and HTTP", "net/http", module)
			direct("go-jose and x/crypto are enough", func(s string) bool {
				return within(s, "github.com/go-jose/go-jose/v4") || within(s, "golang.org/x/crypto")
			})
		case local == "internal/safefetch":
			not("it fetches documents and knows nothing of what is in them", module, "github.com/zitadel/oidc", "tailscale.com", "github.com/go-jose/go-jose")
			direct("the standard library and x/sync are enough", func(s string) bool { return within(s, "golang.org/x/sync") })
		case local == "internal/admin":
			not("it knows its Backend interface, neither the store nor the engine", module, "github.com/zitadel/oidc", "tailscale.com")
		case local == "internal/recipes":
			not("data about applications, not about this server", "github.com/zitadel/oidc", "tailscale.com", module+"/store")
		case local == "internal/adminui":
			not("it has no way to the provider but the Backend interface", module+"/store", module+"/internal/jwt", "github.com/zitadel/oidc", "tailscale.com")
			direct("the standard library is enough", func(s string) bool {
				return s == module+"/internal/admin" || s == module+"/internal/recipes"
			})
		case local == "store":
			not("the contract is for authors of backends: records, hashes, atomicity", "net/http", "database/sql", module)
			direct("the standard library is enough", func(string) bool { return false })
		case local == "store/memory", local == "store/storetest":
			not("a backend knows no protocol", "github.com/zitadel/oidc", "tailscale.com", module+"/internal/oauth", module+"/internal/jwt", module+"/internal/admin")
		case local == "rs":
			// Resource servers are other programs: each dependency is one of theirs.
			for _, dep := range p.deps {
				allowed := slices.ContainsFunc([]string{module + "/internal/oauth", module + "/internal/jwt", "github.com/go-jose/go-jose/v4", "golang.org/x/crypto", "golang.org/x/sys/cpu"},
					func(path string) bool { return within(dep, path) })
				if strings.Contains(strings.Split(dep, "/")[0], ".") && !allowed {
					t.Errorf("%s depends on %s: a resource server brings neither a provider nor an SDK", local, dep)
				}
			}
		case within(local, "cmd"):
			not("the protocol is the provider's", "github.com/stretchr/testify", "net/http/httptest", "testing")
		}
	}
}

// TestRooms holds DESIGN's "who knows what" within the root package.
func TestRooms(t *testing.T) {
	const (
		op   = "github.com/zitadel/oidc/v3/pkg/op"
		oidc = "github.com/zitadel/oidc/v3/pkg/oidc"
	)
	for _, room := range []struct {
		files  []string
		bans   []string
		reason string
	}{
		{[]string{"capability.go", "decide.go", "claims.go"}, []string{"net/http", "net", "context", "os", "io", "time", "log/slog", "sync", "math/rand/v2", "crypto/rand", module + "/store", op, oidc},
			"policy is pure: values in, values out, without I/O, HTTP and clock"},
		{[]string{"identity.go", "directory.go"}, []string{"net/http", module + "/store", module + "/internal/oauth", module + "/internal/jwt", module + "/internal/admin", op, oidc},
			"identity knows connections and WhoIs, neither clients nor tokens"},
		{[]string{"storage.go", "storage_op.go", "storage_device.go", "authorization.go", "mint.go"}, []string{"net/http", "database/sql"},
			"persistence and minting never see a request"},
		{[]string{"authorize.go", "routes.go", "guards.go", "surround.go", "errors.go", "pages.go", "discovery.go", "tsidp.go", "form.go", "device.go", "device_page.go"}, []string{op},
			"the engine is below server.go and storage.go"},
	} {
		for _, file := range room.files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range f.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(room.bans, path) {
					t.Errorf("%s imports %s: %s", file, path, room.reason)
				}
			}
		}
	}
}
