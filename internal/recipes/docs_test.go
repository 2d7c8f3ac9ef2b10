// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/recipes"
	"github.com/tailscale/tsidp/internal/recipes/recipetest"
)

var update = flag.Bool("update", false, "write docs/apps")

const docs = "../../docs/apps/"

// links are what a recipe may name, and how a page in docs/apps leads there.
var links = strings.NewReplacer(
	"“People without an e-mail address” in docs/apps", "[people without an e-mail address](README.md#people-without-an-e-mail-address)",
	"“User names” in docs/apps", "[user names](README.md#user-names)",
	"docs/running.md", "[running.md](../running.md)",
	"docs/mcp.md", "[mcp.md](../mcp.md)",
)

// page is the page of a recipe.
func page(r recipes.Recipe) (string, error) {
	setup := r.Example()
	client, err := r.Client(setup.Values)
	if err != nil {
		return "", err
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(client); err != nil {
		return "", err
	}

	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Generated: go test ./internal/recipes -run TestDocs -update -->\n\n%s\n\n", r.Name, r.About)
	fmt.Fprint(&b, "What is the same for all applications is on [a page of its own](README.md).\n\n## In tsidp\n\n")
	if len(r.Fields) > 0 {
		fmt.Fprint(&b, "With these values, which stand for yours:\n\n| what | here | |\n| --- | --- | --- |\n")
		for _, f := range r.Fields {
			fmt.Fprintf(&b, "| %s | `%s` | %s |\n", cell(f.Label), f.Example, cell(f.Hint))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "```sh\ncurl %s/api/v1/clients -H 'Content-Type: application/json' -d @- <<'EOF'\n%sEOF\n```\n\n", setup.Issuer, body.String())
	fmt.Fprint(&b, "## In the application\n")
	for _, s := range r.Settings(setup) {
		fmt.Fprintf(&b, "\n### %s\n\n", s.Title)
		if s.Text != "" {
			fmt.Fprintf(&b, "%s\n\n", s.Text)
		}
		if s.Code != "" {
			fmt.Fprintf(&b, "```%s\n%s```\n", s.Lang, s.Code)
		}
		if len(s.Rows) > 0 {
			fmt.Fprint(&b, "| field | value |\n| --- | --- |\n")
			for _, row := range s.Rows {
				fmt.Fprintf(&b, "| %s | %s |\n", cell(row.Label), code(row.Value))
			}
		}
	}
	fmt.Fprintf(&b, "\n## In the policy file\n\n")
	if r.Roles != "" {
		fmt.Fprintf(&b, "%s\n\n", r.Roles)
	}
	fmt.Fprintf(&b, "```json\n%s```\n\n## What people see\n\n%s\n\n## When it does not work\n\n| you see | it means |\n| --- | --- |\n", r.Grant(setup), r.Sees)
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "| %s | %s |\n", cell(f.Sign), cell(f.Cause))
	}
	return links.Replace(strings.ReplaceAll(b.String(), "\n\n\n", "\n\n")), nil
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// code sets what is typed as it stands, and leaves advice alone.
func code(s string) string {
	if strings.Contains(s, " or ") {
		return s
	}
	if strings.ContainsAny(s, "/_@") || !strings.Contains(s, " ") || strings.HasPrefix(s, "openid") || strings.HasPrefix(s, "CLIENT") {
		return "`" + cell(s) + "`"
	}
	return cell(s)
}

// index is the list of pages.
func index() string {
	var b strings.Builder
	fmt.Fprint(&b, "| application | |\n| --- | --- |\n")
	for _, r := range recipes.All() {
		about, _, _ := strings.Cut(links.Replace(r.About), ". ")
		fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", r.Name, r.ID, cell(strings.TrimSuffix(about, ".")))
	}
	return b.String()
}

// TestDocs: docs/apps is what the recipes say.
func TestDocs(t *testing.T) {
	want := map[string]string{"README.md": withIndex(t)}
	for _, r := range recipes.All() {
		text, err := page(r)
		if err != nil {
			t.Fatal(err)
		}
		want[r.ID+".md"] = text
	}
	for name, text := range want {
		if *update {
			if err := os.WriteFile(docs+name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(docs + name)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(text, string(got)); diff != "" {
			t.Errorf("%s (-want +got), run the test with -update:\n%s", name, diff)
		}
	}
	files, err := filepath.Glob(docs + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := want[filepath.Base(file)]; !ok {
			t.Errorf("%s has no recipe", file)
		}
	}
}

// withIndex is docs/apps/README.md with the index as it must be.
func withIndex(t *testing.T) string {
	const from, to = "<!-- index: go test ./internal/recipes -run TestDocs -update -->\n\n", "<!-- end of index -->"
	text := readme(t)
	head, rest, ok := strings.Cut(text, from)
	_, tail, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the index")
	}
	return head + from + index() + "\n" + to + tail
}

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(docs + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDocsLinks: what the pages lead to is there.
func TestDocsLinks(t *testing.T) {
	files, err := filepath.Glob(docs + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`).FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := file
			if m[1] != "" {
				to = docs + m[1]
			}
			target, err := os.ReadFile(to)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if m[2] != "" && !slices.Contains(anchors(string(target)), m[2]) {
				t.Errorf("%s leads to %s%s", file, m[1], m[2])
			}
		}
	}
}

// anchors are those that GitHub gives to headings.
func anchors(markdown string) []string {
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(markdown, -1) {
		kept := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, "#"+strings.ReplaceAll(kept, " ", "-"))
	}
	return list
}

// TestDocsGrants: the rules that README.md has do what it says.
func TestDocsGrants(t *testing.T) {
	find := func(id string) app { return apps[slices.IndexFunc(apps, func(a app) bool { return a.id == id })] }
	t.Run("people without an address", func(t *testing.T) {
		s := setUp(t, find("coder"), nil)
		if _, err := s.loginOf(recipetest.Octocat); err == nil || !strings.Contains(err.Error(), "email") {
			t.Errorf("without a rule: %v", err)
		}
		s.applyText(recipetest.Octocat, grantBelow(t, "## People without an e-mail address"))
		session, err := s.loginOf(recipetest.Octocat)
		if err != nil {
			t.Fatal(err)
		}
		if session.claims["email"] != "octocat@example.com" || session.claims["email_verified"] != true {
			t.Errorf("email %v, email_verified %v", session.claims["email"], session.claims["email_verified"])
		}
	})
	t.Run("accounts of another name", func(t *testing.T) {
		s, other := setUp(t, find("synology"), nil), setUp(t, find("synology"), nil)
		s.applyText(recipetest.Alice, strings.ReplaceAll(grantBelow(t, "## User names"), "CLIENT_ID", s.setup.ClientID))
		defer s.apply(recipetest.Alice)
		for s, want := range map[*setting]string{s: "admin", other: "alice"} {
			session, err := s.loginOf(recipetest.Alice)
			if err != nil || session.account != want {
				t.Errorf("the account is %+v, %v; want %s", session, err, want)
			}
		}
	})
}

// loginOf logs somebody in.
func (s *setting) loginOf(p recipetest.Person) (*session, error) {
	c, err := s.app.start(s.w, s.printed)
	if err != nil {
		return nil, err
	}
	return c.login(s.w.NewBrowser(p), s.app.redirects(s.printed, s.address)[0])
}

// grantBelow is the first grant below a heading of README.md.
func grantBelow(t *testing.T, heading string) string {
	t.Helper()
	_, part, ok := strings.Cut(readme(t), heading)
	_, grant, ok2 := strings.Cut(part, "```json\n")
	grant, _, ok3 := strings.Cut(grant, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("README.md has no grant below %s", heading)
	}
	return grant
}
