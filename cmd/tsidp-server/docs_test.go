// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of flags in docs/running.md")

// flagTable returns all options as a table of a page.
func flagTable() string {
	var b strings.Builder
	b.WriteString("| flag | variables | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, o := range options(new(config)) {
		var vars []string
		for _, v := range o.vars {
			vars = append(vars, "`"+v+"`")
		}
		def := ""
		if o.def != "" && o.arg != "" {
			def = "`" + o.def + "`"
		}
		name := strings.TrimSpace("-" + o.flag + " " + o.arg)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.Join(vars, ", "), def, strings.ReplaceAll(o.help, "|", `\|`))
	}
	return b.String()
}

// TestFlagTable: docs/running.md tells the flags as they are. With -update it
// is made to.
func TestFlagTable(t *testing.T) {
	const file = "../../docs/running.md"
	const begin, end = "<!-- flags: go test ./cmd/tsidp-server -run TestFlagTable -update -->\n", "<!-- end of flags -->\n"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the flags", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+"\n"+flagTable()+"\n"+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff("\n"+flagTable()+"\n", table); diff != "" {
		t.Errorf("%s (-want +got), run the test with -update:\n%s", file, diff)
	}
}
