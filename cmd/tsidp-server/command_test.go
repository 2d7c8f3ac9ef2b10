// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp"
)

// runTool runs a command of the program in this process, in an environment
// that says nothing.
func runTool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, environment("TSIDP_PORT=many"), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		args string
		code int
		says string // in the standard error
	}{
		{"keys", exitUsage, "want list, rotate or retire KID"},
		{"keys show", exitUsage, "want list, rotate or retire KID"},
		{"keys list all", exitUsage, "list takes 0 arguments, there are 1"},
		{"keys retire", exitUsage, "retire takes 1 arguments, there are 0"},
		{"keys list -port 1", exitUsage, "-port"},
		{"keys list -key-rotation 1h", exitUsage, "-key-rotation"},
		{"keys list -store mysql://hush", exitUsage, "invalid value for -store"},
		{"backup", exitUsage, "want one argument"},
		{"backup a b", exitUsage, "want one argument"},
		{"import a b", exitUsage, "want one directory"},
		{"import -json", exitUsage, "-json"},
		{"import /old", exitUsage, "at the first start of a server with -dir /old, once; use -n"},
		{"import -n " + missing, exitFailure, missing},
		{"keys list -dir " + missing, exitFailure, "no server runs with the state directory " + missing},
		{"backup x -dir " + missing, exitFailure, missing},
		{"backup x -store postgres:///d -dir " + missing, exitFailure, "pg_dump"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, out, errs := runTool(t, strings.Fields(tt.args)...)
			if code != tt.code || out != "" || !strings.Contains(errs, tt.says) || strings.Contains(errs, "hush") {
				t.Errorf("exit code %d, output %q, error %q, want %d, %q", code, out, errs, tt.code, tt.says)
			}
			if name, _, _ := strings.Cut(tt.args, " "); (code == exitUsage) != strings.Contains(errs, "tsidp-server "+name+" -help") {
				t.Errorf("exit code %d with %q", code, errs)
			}
		})
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a command has made a state directory")
	}
}

func TestCommandHelp(t *testing.T) {
	var help strings.Builder
	usage(&help)
	for _, c := range commands() {
		code, out, errs := runTool(t, c.name, "-help")
		if code != exitOK || errs != "" || !strings.Contains(out, "usage: tsidp-server "+c.name+" "+c.args) {
			t.Errorf("%s: exit code %d, error %q, output %q", c.name, code, errs, out)
		}
		for _, name := range c.options {
			if !strings.Contains(out, "  -"+name+" ") {
				t.Errorf("the help of %s does not tell -%s", c.name, name)
			}
		}
		if strings.Contains(out, "-json") != c.json || !strings.Contains(help.String(), c.summary) {
			t.Errorf("%s: the help is %q", c.name, out)
		}
	}
}

func TestCommandParse(t *testing.T) {
	cmd, ok := commandNamed("keys")
	if !ok {
		t.Fatal("there is no keys")
	}
	inv, err := cmd.parse([]string{"retire", "-dir=/flag", "kid", "-json", "-key-rotation", "90d"}, environment("TSIDP_DIR=/env", "TSIDP_KEY_FILE=/kek", "TSIDP_STORE=postgres://u:p@h/d"))
	if err != nil {
		t.Fatal(err)
	}
	want := config{dir: "/flag", keyFile: "/kek", keyRotation: 90 * 24 * time.Hour, store: "postgres://u:p@h/d"}
	if diff := cmp.Diff(want, inv.config, cmp.AllowUnexported(config{}, address{}, notifier{})); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"retire", "kid"}, inv.args); diff != "" || !inv.json {
		t.Errorf("json %v, arguments (-want +got):\n%s", inv.json, diff)
	}
	if _, ok := commandNamed("serve"); ok {
		t.Error("serve is a command")
	}
}

func TestImportCommand(t *testing.T) {
	dir := t.TempDir()
	legacyFiles(t, dir)
	code, out, errs := runTool(t, "import", "-n", dir)
	if code != exitOK || errs != "" || !strings.Contains(out, "grafana") || !strings.Contains(out, "18446744073709551557") || strings.Contains(out, "hush") {
		t.Errorf("exit code %d, error %q, output:\n%s", code, errs, out)
	}
	if code, again, _ := runTool(t, "import", "-n", "-dir", dir); code != exitOK || again != out {
		t.Errorf("with -dir: exit code %d, output:\n%s", code, again)
	}
	if _, err := os.Stat(filepath.Join(dir, databaseName)); err == nil {
		t.Error("to show has made a database")
	}
	writeTo(t, filepath.Join(dir, "oidc-key.json"), "{")
	if code, out, errs := runTool(t, "import", "-n", dir); code != exitFailure || out != "" || !strings.Contains(errs, "oidc-key.json") {
		t.Errorf("a broken file: exit code %d, output %q, error %q", code, out, errs)
	}
}

// keyStates returns the states in a table of keys, by the ids.
func keyStates(t *testing.T, table string) map[string]string {
	t.Helper()
	states := make(map[string]string)
	row := regexp.MustCompile(`(?m)^(\S+) +(?:RS256|ES256|EdDSA|seal) +(\w+) +2\d{3}-\S+Z +2\d{3}-\S+Z +(?:2\d{3}-\S+Z|-)$`)
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		states[m[1]] = m[2]
	}
	if n := strings.Count(table, "\n"); len(states) != n-1 {
		t.Fatalf("%d keys in\n%s", len(states), table)
	}
	return states
}

func count(states map[string]string, state string) (n int) {
	for _, s := range states {
		if s == state {
			n++
		}
	}
	return n
}

// checkKeyCommands runs the commands on the fresh state in dir, whoever
// answers.
func checkKeyCommands(t *testing.T, dir string) {
	t.Helper()
	keys := func(args ...string) string {
		t.Helper()
		code, out, errs := runTool(t, append([]string{"keys", "-dir", dir}, args...)...)
		if code != exitOK || errs != "" {
			t.Fatalf("keys %v: exit code %d, %s", args, code, errs)
		}
		return out
	}
	first := keyStates(t, keys("list"))
	if len(first) != 3 || count(first, "current") != 3 {
		t.Errorf("at first: %v", first)
	}
	rotated := keyStates(t, keys("rotate"))
	if len(rotated) != 6 || count(rotated, "current") != 3 || count(rotated, "next") != 3 {
		t.Errorf("after rotate: %v", rotated)
	}
	var kid string
	for kid = range first {
		break
	}
	left := keyStates(t, keys("retire", kid))
	if _, there := left[kid]; there || len(left) != 5 || count(left, "current") != 3 {
		t.Errorf("after retire %s: %v", kid, left)
	}
	var list struct {
		Keys []struct{ Kid string }
	}
	if err := json.Unmarshal([]byte(keys("list", "-json")), &list); err != nil || len(list.Keys) != 5 {
		t.Errorf("as JSON: %+v, %v", list, err)
	}
	if code, out, errs := runTool(t, "keys", "retire", kid, "-dir", dir); code != exitFailure || out != "" || !strings.Contains(errs, "there is no key with this id") {
		t.Errorf("retire %s again: exit code %d, output %q, error %q", kid, code, out, errs)
	}
}

func TestKeysAlone(t *testing.T) {
	dir := socketDir(t)
	key := writeTo(t, filepath.Join(dir, "kek"), strings.Repeat("k", 32))
	c := config{dir: dir, keyFile: key}
	st, err := openState(t.Context(), c, silent)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := runTool(t, "keys", "list", "-dir", dir); code != exitFailure || !strings.Contains(errs, "this process has it open") {
		t.Errorf("beside a process without a socket: exit code %d, %s", code, errs)
	}
	st.close(silent)
	if code, _, errs := runTool(t, "keys", "list", "-dir", dir); code != exitFailure || !strings.Contains(errs, "no server has been started with it yet") {
		t.Errorf("without keys: exit code %d, %s", code, errs)
	}
	if st, err = openState(t.Context(), c, silent); err != nil {
		t.Fatal(err)
	}
	t.Run("make keys", func(t *testing.T) {
		cfg := st.providerConfig(c, silent)
		cfg.Issuer, cfg.Tailnet = "https://idp.example/idp", nobody{}
		administer(t, st, cfg, "/api/v1/keys")
	})
	st.close(silent)
	if code, _, errs := runTool(t, "keys", "list", "-dir", dir); code != exitFailure || !strings.Contains(errs, "TSIDP_KEY_FILE") {
		t.Errorf("without the key file: exit code %d, %s", code, errs)
	}
	wrong := writeTo(t, filepath.Join(dir, "wrong"), strings.Repeat("w", 32))
	if code, _, errs := runTool(t, "keys", "list", "-dir", dir, "-key-file", wrong); code != exitFailure || !strings.Contains(errs, "is not the one") {
		t.Errorf("with another key file: exit code %d, %s", code, errs)
	}
	if code, out, errs := runTool(t, "keys", "list", "-dir", dir, "-key-file", key); code != exitOK || len(keyStates(t, out)) != 3 {
		t.Errorf("with the key file: exit code %d, %s", code, errs)
	}
	data, err := os.ReadFile(filepath.Join(dir, databaseName))
	if err != nil || bytes.Contains(data, []byte(`"key":`)) || !bytes.Contains(data, []byte(`"sealed":`)) {
		t.Errorf("the keys are not encrypted in the database (%v)", err)
	}
}

func TestKeysAloneWithoutKeyFile(t *testing.T) {
	dir := socketDir(t)
	t.Run("make keys", func(t *testing.T) {
		st := openAt(t, config{dir: dir})
		administer(t, st, tsidp.Config{Issuer: "https://idp.example/idp", Tailnet: nobody{}, Store: st.store}, "/api/v1/keys")
	})
	checkKeyCommands(t, dir)
	file := filepath.Join(t.TempDir(), "backup.db")
	code, out, errs := runTool(t, "backup", file, "-dir", dir)
	if info, err := os.Stat(file); code != exitOK || errs != "" || err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(out, file+": ") {
		t.Errorf("backup: exit code %d, output %q, error %q, file %v (%v)", code, out, errs, info, err)
	}
	if code, _, errs := runTool(t, "backup", file, "-dir", dir); code != exitFailure || !strings.Contains(errs, "exists") {
		t.Errorf("backup over a file: exit code %d, %s", code, errs)
	}
}
