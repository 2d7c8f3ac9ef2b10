// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// goFiles returns the Go files of the repository, those of the modules
// within it too.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != "." && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !d.IsDir() && filepath.Ext(path) == ".go" {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("%d Go files only: this test tests nothing", len(files))
	}
	return files
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

// TestLicenseHeaders: every Go file says whose it is.
func TestLicenseHeaders(t *testing.T) {
	const header = "// Copyright (c) Tailscale Inc & contributors\n// SPDX-License-Identifier: BSD-3-Clause\n\n"
	for _, file := range goFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, []byte(header)) {
			t.Errorf("%s does not begin with the licence header:\n%s", file, header)
		}
	}
}

// Bounds on what one has to read at once.
const (
	maxFunctionLines = 120
	maxFileLines     = 600
	maxExportedNames = 60
)

func TestSizes(t *testing.T) {
	fset := token.NewFileSet()
	for _, file := range goFiles(t) {
		if isTest(file) {
			continue
		}
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if n := fset.File(f.Pos()).LineCount(); n > maxFileLines {
			t.Errorf("%s has %d lines, want at most %d", file, n, maxFileLines)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, want at most %d", fset.Position(fn.Pos()), fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// rootFiles parses the root package without its tests.
func rootFiles(t *testing.T) (*token.FileSet, []*ast.File) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if isTest(name) {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return fset, files
}

// An exportedName is a name of the API.
type exportedName struct {
	name string // Provider.Run, Config.Issuer
	doc  string
	typ  ast.Node // what it is made of
	top  bool
}

// exportedNames are the top-level names, methods, fields and interface
// methods that an embedder can see.
func exportedNames(t *testing.T) []exportedName {
	t.Helper()
	var names []exportedName
	add := func(top bool, typ ast.Node, owner string, idents []*ast.Ident, docs ...*ast.CommentGroup) {
		var doc string
		for _, d := range docs {
			doc += d.Text()
		}
		for _, id := range idents {
			if id.IsExported() {
				names = append(names, exportedName{owner + id.Name, doc, typ, top})
			}
		}
	}
	_, files := rootFiles(t)
	for _, f := range files {
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(true, d.Type, "", []*ast.Ident{d.Name}, d.Doc)
				} else if recv := receiver(d); ast.IsExported(recv) {
					add(false, d.Type, recv+".", []*ast.Ident{d.Name}, d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						add(true, s.Type, "", s.Names, d.Doc, s.Doc, s.Comment)
					case *ast.TypeSpec:
						add(true, nil, "", []*ast.Ident{s.Name}, d.Doc, s.Doc)
						if !s.Name.IsExported() {
							continue
						}
						members := &ast.FieldList{}
						switch typ := s.Type.(type) {
						case *ast.StructType:
							members = typ.Fields
						case *ast.InterfaceType:
							members = typ.Methods
						}
						for _, m := range members.List {
							add(false, m.Type, s.Name.Name+".", m.Names, m.Doc, m.Comment)
						}
					}
				}
			}
		}
	}
	return names
}

func receiver(fn *ast.FuncDecl) string {
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// TestExportedNames: the API is small, all of it is documented, and the
// engine does not show in it: op is experimental until its version 4.
func TestExportedNames(t *testing.T) {
	var top int
	for _, n := range exportedNames(t) {
		if n.top {
			top++
		}
		if strings.TrimSpace(n.doc) == "" {
			t.Errorf("%s has no doc comment", n.name)
		} else if n.top && !regexp.MustCompile(`^((A|An|The) )?`+n.name+`\b`).MatchString(n.doc) {
			t.Errorf("the doc comment of %s does not begin with its name: %.40q", n.name, n.doc)
		}
		if n.typ == nil {
			continue
		}
		ast.Inspect(n.typ, func(node ast.Node) bool {
			if sel, ok := node.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{"op", "oidc", "jose", "jwt", "oauth", "admin"}, id.Name) {
					t.Errorf("%s has the type %s.%s in it, which embedders must not depend on", n.name, id.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
	if top > maxExportedNames || top < 5 {
		t.Errorf("%d exported top-level names, want at most %d", top, maxExportedNames)
	}
}

// methodsOf returns the methods that the root package declares on a type.
func methodsOf(t *testing.T, typ string) map[string]*ast.FuncDecl {
	t.Helper()
	methods := make(map[string]*ast.FuncDecl)
	_, files := rootFiles(t)
	for _, f := range files {
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil && receiver(fn) == typ {
				methods[fn.Name.Name] = fn
			}
		}
	}
	return methods
}

// TestOpServerMethods is op-engine §8 item 21: what opServer inherits from
// op.UnimplementedServer refuses, and is on this list for a reason. A method
// that a new version of the engine brings is on none.
func TestOpServerMethods(t *testing.T) {
	inherited := map[string]string{
		"Health":              "provider.go serves /healthz",
		"Ready":               "provider.go serves /healthz",
		"Discovery":           "discovery.go serves the metadata",
		"Keys":                "keys.go serves the key set",
		"Authorize":           "authorize.go serves /authorize",
		"VerifyAuthRequest":   "authorize.go serves /authorize",
		"DeviceAuthorization": "device.go serves /device_authorization, which needs the peer",
		"VerifyClient":        "clientauth.go authenticates clients before the engine is asked",
		"JWTProfile":          "the grant type jwt-bearer is not on",
		"Introspect":          "introspect.go serves /introspect: the engine's route refuses secretless introspection",
		"Revocation":          "revocation is not on",
		"EndSession":          "logout is not on",
	}
	ours := methodsOf(t, "opServer")
	for i := range reflect.TypeFor[op.Server]().NumMethod() {
		method := reflect.TypeFor[op.Server]().Method(i)
		if !method.IsExported() {
			continue // the engine's seal: it makes us embed
		}
		name := method.Name
		_, own := ours[name]
		delete(ours, name)
		_, listed := inherited[name]
		delete(inherited, name)
		switch {
		case own && listed:
			t.Errorf("op.Server.%s is ours now: take it off the list", name)
		case !own && !listed:
			t.Errorf("op.Server.%s is inherited from op.UnimplementedServer: write it, or list it with a reason", name)
		}
	}
	for name := range inherited {
		t.Errorf("%s is on the list, but no method of op.Server", name)
	}
	for name := range ours {
		t.Errorf("opServer.%s is no method of op.Server", name)
	}
}

// TestOpServerMethodsAreThin: "each method ≤ 10 lines, calls the file of its
// grant" (DESIGN §2).
func TestOpServerMethodsAreThin(t *testing.T) {
	for name, fn := range methodsOf(t, "opServer") {
		if n := len(fn.Body.List); n > 10 {
			t.Errorf("opServer.%s has %d statements", name, n)
		}
	}
}

// refuses reports whether fn does nothing but return unreachable(…).
func refuses(fn *ast.FuncDecl) bool {
	if len(fn.Body.List) != 1 {
		return false
	}
	ret, ok := fn.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(ret.Results) == 0 {
		return false
	}
	call, ok := ret.Results[len(ret.Results)-1].(*ast.CallExpr)
	if !ok {
		return false
	}
	id, ok := call.Fun.(*ast.Ident)
	return ok && id.Name == "unreachable"
}

// TestStorageTable: the comment of storage says for each method of op.Storage
// what it is here, and it is that.
func TestStorageTable(t *testing.T) {
	var comment string
	_, files := rootFiles(t)
	for _, f := range files {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.TYPE && d.Specs[0].(*ast.TypeSpec).Name.Name == "storage" {
				comment = d.Doc.Text()
			}
		}
	}
	table, rest, ok := strings.Cut(comment, "refuses:")
	if !ok {
		t.Fatalf("the comment of storage does not say what refuses:\n%s", comment)
	}
	iface := reflect.TypeFor[op.Storage]()
	named := func(text string) map[string]bool {
		set := make(map[string]bool)
		for _, word := range regexp.MustCompile(`\w+`).FindAllString(text, -1) {
			if _, ok := iface.MethodByName(word); ok {
				set[word] = true
			}
		}
		return set
	}
	works, refused := named(table), named(rest)
	wantWorks, wantRefused := make(map[string]bool), make(map[string]bool)
	methods := methodsOf(t, "storage")
	f := newFixture(t)
	for i := range iface.NumMethod() {
		name := iface.Method(i).Name
		fn, ok := methods[name]
		if !ok {
			t.Errorf("storage.%s is not written here", name)
			continue
		}
		if !refuses(fn) {
			wantWorks[name] = true
			continue
		}
		wantRefused[name] = true
		if err := callWithZeros(reflect.ValueOf(f.p.storage).MethodByName(name)); err != nil {
			t.Errorf("storage.%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(wantWorks)), slices.Sorted(maps.Keys(works))); diff != "" {
		t.Errorf("methods that work (-code +table):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(wantRefused)), slices.Sorted(maps.Keys(refused))); diff != "" {
		t.Errorf("methods that refuse (-code +comment):\n%s", diff)
	}
}

// callWithZeros calls a method that refuses and reports if it does not.
func callWithZeros(method reflect.Value) error {
	var args []reflect.Value
	for in := range method.Type().Ins() {
		args = append(args, reflect.Zero(in))
	}
	results := method.Call(args)
	err, _ := results[len(results)-1].Interface().(error)
	e, ok := errors.AsType[*protocolError](err)
	if !ok || e.code != codeServerError || !strings.HasPrefix(fmt.Sprint(e.cause), "unreachable: ") {
		return fmt.Errorf("error %v, want one that says that it is unreachable", err)
	}
	for _, r := range results[:len(results)-1] {
		if !r.IsZero() {
			return fmt.Errorf("returns %v beside the error", r)
		}
	}
	return nil
}

// TestGrantTypesAreWired: what can be registered, what the token endpoint
// dispatches and what the metadata list are one set.
func TestGrantTypesAreWired(t *testing.T) {
	cfg := goodConfig()
	cfg.TokenExchange = new(TokenExchange)
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(supportedGrantTypes)), slices.Sorted(maps.Keys(p.grantTypes()))); diff != "" {
		t.Errorf("grant types (-supported +dispatched):\n%s", diff)
	}
}
