// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A module is one of a certification plan.
type module struct {
	name string
	// test does what the module does; it is nil if skip has the reason, which
	// cites a standard.
	test func(*run)
	skip string
	// faults are some that test must notice, each by itself.
	faults []fault
}

// A plan is a list of modules, as the OpenID Foundation publishes it.
type plan struct {
	name, title string
	mode        string // response_mode
	modules     []module
}

func plans() []plan {
	return []plan{
		{"basic", "Basic OP: `oidcc-basic-certification-test-plan`", "query", basicModules()},
		{"formpost", "Form Post Basic OP: `oidcc-formpost-basic-certification-test-plan`", "form_post", basicModules()},
		{"config", "Config OP: `oidcc-config-certification-test-plan`", "query", configModules()},
		{"dynamic", "Dynamic OP: `oidcc-dynamic-certification-test-plan`", "query", dynamicModules()},
		{"logout", "RP-Initiated Logout OP: `oidcc-rp-initiated-logout-certification-test-plan`", "query", logoutModules()},
	}
}

// execute runs a module, with a fault or without.
func execute(m module, mode string, f *fault) *checker {
	r := newRun(shared(), mode, f)
	r.try(func() { m.test(r) })
	return &r.checker
}

// Verdicts, by the names that certification has for them.
const (
	passed  = "PASSED"
	warning = "WARNING"
	skipped = "SKIPPED"
	broken  = "FAILED"
)

type outcome struct {
	module
	verdict string
	remarks []string
}

type planOutcome struct {
	plan
	outcomes []outcome
}

// results runs all modules, once.
var results = sync.OnceValue(func() []planOutcome {
	var all []planOutcome
	for _, p := range plans() {
		po := planOutcome{plan: p}
		for _, m := range p.modules {
			o := outcome{module: m, verdict: skipped, remarks: []string{m.skip}}
			if m.test != nil {
				c := execute(m, p.mode, nil)
				o.verdict, o.remarks = passed, nil
				switch {
				case len(c.failures) > 0:
					o.verdict, o.remarks = broken, c.failures
				case len(c.warnings) > 0:
					o.verdict, o.remarks = warning, c.warnings
				}
			}
			po.outcomes = append(po.outcomes, o)
		}
		all = append(all, po)
	}
	return all
})

// TestModules has each module as a subtest. One that is skipped shows why in
// docs/conformance.md, and here holds only that it has a reason.
func TestModules(t *testing.T) {
	for _, p := range results() {
		t.Run(p.name, func(t *testing.T) {
			for _, o := range p.outcomes {
				t.Run(o.name, func(t *testing.T) {
					if o.verdict == broken {
						t.Error(strings.Join(o.remarks, "\n"))
					}
					t.Log(o.verdict, strings.Join(o.remarks, "; "))
				})
			}
		})
	}
}

// TestSeededFaults shows that each module can fail.
func TestSeededFaults(t *testing.T) {
	for _, p := range plans() {
		for _, m := range p.modules {
			if m.test != nil && len(m.faults) == 0 {
				t.Errorf("%s/%s is shown to notice no fault", p.name, m.name)
			}
			for _, f := range m.faults {
				t.Run(p.name+"/"+m.name+"/"+f.name, func(t *testing.T) {
					if c := execute(m, p.mode, &f); len(c.failures) == 0 {
						t.Errorf("passed; warnings %q", c.warnings)
					} else {
						t.Log(strings.Join(c.failures, "\n"))
					}
				})
			}
		}
	}
}

// TestSkips: who skips says which standard allows it.
func TestSkips(t *testing.T) {
	for _, p := range plans() {
		var names []string
		for _, m := range p.modules {
			if slices.Contains(names, m.name) {
				t.Errorf("%s/%s stands there twice", p.name, m.name)
			}
			names = append(names, m.name)
			if (m.skip == "") != (m.test != nil) {
				t.Errorf("%s/%s is both tested and skipped, or neither", p.name, m.name)
			}
			cites := func(standard string) bool { return strings.Contains(m.skip, standard) }
			if m.skip != "" && !slices.ContainsFunc([]string{"RFC ", "OpenID Connect ", "OAuth 2.1 "}, cites) {
				t.Errorf("%s/%s: the reason %q cites no standard", p.name, m.name, m.skip)
			}
		}
	}
}

const documentHead = `# Conformance

<!-- Generated: go test ./conformance -run TestDocument -update -->

The certification plans of the OpenID Foundation, re-created as Go tests: each module is a test of the same name in ` + "`conformance/`" + `,
which runs against a provider over TLS with go-oidc, golang.org/x/oauth2 and a browser with cookies, all of which share no code with
the provider. This is no certification; it is what we hold ourselves to between two of them.

The application is registered with ` + "`lean_id_token`" + `, as it should be for certification: without it, claims about the person stand in the ID
token too, where many applications look for them, and the plans warn about that. In the Dynamic plan it registers itself, and
authenticates by ` + "`private_key_jwt`" + `.

Every module that runs is shown to fail against at least one seeded fault (` + "`TestSeededFaults`" + `): a provider without that fault passes
it, the same provider behind a connection that breaks one thing does not. A warning is tolerated by certification. A skipped module
says which standard makes it optional. The rest of the package goes through RFC 9700, OAuth 2.1, RFC 8252, RFC 9068, RFC 8414
and what applications need, sentence by sentence.
`

func document(all []planOutcome) string {
	var b strings.Builder
	b.WriteString(documentHead)
	for _, p := range all {
		fmt.Fprintf(&b, "\n## %s\n\n| module | verdict | faults noticed | remark |\n| --- | --- | --- | --- |\n", p.title)
		for _, o := range p.outcomes {
			faults := "-"
			if o.test != nil {
				faults = fmt.Sprint(len(o.faults))
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", o.name, o.verdict, faults, strings.ReplaceAll(strings.Join(o.remarks, "; "), "|", `\|`))
		}
	}
	return b.String()
}

// TestDocument: docs/conformance.md tells the verdicts as they are.
func TestDocument(t *testing.T) {
	const file = "../docs/conformance.md"
	want := document(results())
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-want +got), run the test with -update:\n%s", file, diff)
	}
}
