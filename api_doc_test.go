// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/internal/admin"
)

// An apiExample is a request of docs/api.md and the answer that it promises.
type apiExample struct {
	method, target, body string
	header               []string // names and values
	status               int
	answerHeader         []string
	answer               string // JSON, or empty
}

// apiExamples reads the blocks of a page, two for each example.
func apiExamples(t *testing.T, page string) []apiExample {
	t.Helper()
	var blocks []string
	for _, part := range strings.Split(page, "\n```http\n")[1:] {
		block, _, ok := strings.Cut(part, "\n```")
		if !ok {
			t.Fatal("a block has no end")
		}
		blocks = append(blocks, block)
	}
	if len(blocks) < 20 || len(blocks)%2 != 0 {
		t.Fatalf("%d blocks, want two for each example", len(blocks))
	}
	split := func(block string) (first string, header []string, body string) {
		head, body, _ := strings.Cut(block, "\n\n")
		s := bufio.NewScanner(strings.NewReader(head))
		s.Scan()
		first = s.Text()
		for s.Scan() {
			name, value, _ := strings.Cut(s.Text(), ": ")
			header = append(header, name, value)
		}
		return first, header, body
	}
	var list []apiExample
	for i := 0; i < len(blocks); i += 2 {
		var e apiExample
		var request, status string
		request, e.header, e.body = split(blocks[i])
		e.method, e.target, _ = strings.Cut(request, " ")
		status, e.answerHeader, e.answer = split(blocks[i+1])
		var err error
		if e.status, err = strconv.Atoi(status); err != nil {
			t.Fatalf("%s: status %q", request, status)
		}
		list = append(list, e)
	}
	return list
}

// TestAPIDoc sends the requests of docs/api.md in their order, and compares
// the answers.
func TestAPIDoc(t *testing.T) {
	data, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	for _, id := range []string{"web", "pub", "rs"} {
		f.do(adm, "DELETE", "/api/v1/clients/"+id, "", "")
	}
	var etag, first, id string
	for _, e := range apiExamples(t, string(data)) {
		fill := strings.NewReplacer("{etag}", etag, "{first}", first, "{id}", id).Replace
		name := e.method + " " + e.target
		contentType := ""
		var header []string
		for i := 0; i < len(e.header); i += 2 {
			if e.header[i] == "Content-Type" {
				contentType = e.header[i+1]
				continue
			}
			header = append(header, e.header[i], fill(e.header[i+1]))
		}
		r := f.do(adm, e.method, fill(e.target), contentType, e.body, header...)
		if r.status != e.status {
			t.Fatalf("%s: answer %d %s, want %d", name, r.status, r.body, e.status)
		}
		for i := 0; i < len(e.answerHeader); i += 2 {
			if got := r.header.Get(e.answerHeader[i]); !likeText(e.answerHeader[i+1], got) {
				t.Errorf("%s: %s is %s, want %s", name, e.answerHeader[i], got, e.answerHeader[i+1])
			}
		}
		if e.answer == "" {
			if r.body != "" {
				t.Errorf("%s: answer %s, want none", name, r.body)
			}
		} else {
			var want, got any
			if err := json.Unmarshal([]byte(e.answer), &want); err != nil {
				t.Fatalf("%s: the page is no JSON: %v", name, err)
			}
			if err := json.Unmarshal([]byte(r.body), &got); err != nil {
				t.Fatalf("%s: answer %s: %v", name, r.body, err)
			}
			if diff := unlike(want, got, ""); diff != "" {
				t.Errorf("%s: %s in %s", name, diff, r.body)
			}
			if m, _ := got.(map[string]any); m != nil {
				if s, ok := m["client_id"].(string); ok {
					id = s
				}
				if s, ok := m["secrets"].([]any); ok && first == "" {
					first = s[0].(map[string]any)["id"].(string)
				}
			}
		}
		if tag := r.header.Get("ETag"); tag != "" && r.status/100 == 2 {
			etag = tag
		}
	}
	if r := f.do(adm, http.MethodGet, "/api/v1/clients", "", ""); !strings.Contains(r.body, `"clients":[]`) {
		t.Errorf("left: %s", r.body)
	}
}

// likeText compares a text of the page, where … stands for anything at the
// end.
func likeText(want, got string) bool {
	if prefix, ok := strings.CutSuffix(want, "…"); ok {
		return len(got) > len(prefix) && strings.HasPrefix(got, prefix)
	}
	return want == got
}

// unlike says how a value of JSON is not what the page shows. A member … stands
// for more members, an entry … for more entries.
func unlike(want, got any, path string) string {
	switch want := want.(type) {
	case string:
		if s, ok := got.(string); ok && likeText(want, s) {
			return ""
		}
	case map[string]any:
		m, ok := got.(map[string]any)
		if !ok {
			break
		}
		_, more := want["…"]
		for name := range m {
			if _, ok := want[name]; !ok && !more {
				return path + "." + name + " is not on the page"
			}
		}
		for name, v := range want {
			if name == "…" {
				continue
			}
			if diff := unlike(v, m[name], path+"."+name); diff != "" {
				return diff
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok {
			break
		}
		if n := len(want); n > 0 && want[n-1] == "…" {
			want = want[:n-1]
			list = list[:min(len(list), len(want))]
		}
		if len(list) != len(want) {
			break
		}
		for i := range want {
			if diff := unlike(want[i], list[i], fmt.Sprintf("%s[%d]", path, i)); diff != "" {
				return diff
			}
		}
		return ""
	default:
		if reflect.DeepEqual(want, got) {
			return ""
		}
	}
	return fmt.Sprintf("%s is %v, want %v", path, got, want)
}

// TestAPIDocMembers: docs/api.md explains every member of a client.
func TestAPIDocMembers(t *testing.T) {
	doc, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	metadata := reflect.TypeFor[admin.ClientMetadata]()
	for i := range metadata.NumField() {
		name, _, _ := strings.Cut(metadata.Field(i).Tag.Get("json"), ",")
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/api.md does not have %s", name)
		}
	}
}
