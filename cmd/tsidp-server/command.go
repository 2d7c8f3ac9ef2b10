// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
)

// A command works on the state of a server, beside it or without it.
type command struct {
	name, args string
	summary    string    // one line
	help       string    // what there is more to say
	options    []string  // flags among those of the server that it takes
	json       bool      // takes -json
	flags      []ownFlag // its own
	server     bool      // takes all options of the server, judged as there
	run        func(context.Context, *invocation) error
}

// An ownFlag is a flag that only one command has.
type ownFlag interface {
	define(fs *flag.FlagSet, inv *invocation)
	usage(w io.Writer)
}

// commands returns all commands, in the order of the help.
func commands() []command {
	return []command{clientCommand(), explainCommand(), {
		name: "keys", args: "list|rotate|retire KID", run: runKeys, json: true,
		summary: "show the signing keys, begin a rotation, remove a key",
		help: `list shows the keys of the state directory: those that sign, those that are
published to sign later, and those that are kept for what they have signed.
rotate publishes the next keys; they sign two days later, when applications
have seen them. retire removes a key at once, one that others may know: all
that it has signed is worth nothing from then on.

If no server runs with the directory, the command opens its database itself;
then it needs the -store, -key-file and -key-rotation that the server has.`,
		options: []string{"dir", "store", "key-file", "key-rotation"},
	}, {
		name: "backup", args: "FILE", run: runBackup, json: true,
		summary: "write a snapshot of the state to a new file",
		help: `The snapshot holds all that was acknowledged before the command began; the
server goes on working. It is the server that writes FILE, with mode 0600. A
file that exists is not overwritten. To restore: put FILE as tsidp.db into an
empty directory of mode 0700 and start a server with it.

PostgreSQL databases are backed up with pg_dump.`,
		options: []string{"dir", "store"},
	}, {
		name: "import", args: "-n [DIR]", run: runImport,
		summary: "show what would be imported from an earlier version",
		help: `With -n the command shows what a server would take over from the files of an
earlier version in DIR, by default the state directory. It changes nothing.
The import itself happens at the first start of a server with -dir DIR.`,
		options: []string{"dir"},
	}, {
		name: "check", args: "[OPTION...]", run: runCheck, server: true,
		summary: "say what is wrong with configuration, state and server",
		help: `The command takes the options and variables of the server and says, line by
line, what is well and what is not, and what to do about it. If a server runs
with that state, it is asked for its own state: store, keys, tailnet,
certificate. If none runs, the store is opened, which names whoever has it
locked. A server that runs also tells which rules of the tailnet's policy cannot
be read, or have unknown keys. Nothing is made or changed.

The exit code is 0 if all is well, 1 if something is not, and 2 if an option is
wrong.`,
	}, {
		name: "healthcheck", args: "[-ready] [OPTION...]", run: runHealthcheck, server: true,
		summary: "exit with 0 if the server is well, for supervisors",
		help: `The command asks the server by the socket in its state directory, or with -dev
by its port, whether it does its work (/healthz). With -ready it asks whether
logins succeed (/readyz), which tailnet and certificate can prevent; a restart
mends neither. It takes the options and variables of the server, of which -dir,
-dev and -local-port matter. The exit code is 0, or 1 if the server is not well
or not there.`,
	}}
}

func commandNamed(name string) (command, bool) {
	list := commands()
	i := slices.IndexFunc(list, func(c command) bool { return c.name == name })
	if i < 0 {
		return command{}, false
	}
	return list[i], true
}

// An invocation is one run of a command.
type invocation struct {
	config config
	args   []string
	json   bool
	dryRun bool
	client clientOptions
	asked  url.Values // of the command explain
	ready  bool
	out    io.Writer
	log    *slog.Logger // for warnings
}

// A usageError says that the command line is at fault.
type usageError struct{ error }

// runCommand runs cmd and returns the exit code.
func runCommand(ctx context.Context, cmd command, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	inv, err := cmd.parse(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		cmd.usage(stdout)
		return exitOK
	}
	if err == nil {
		inv.out = stdout
		inv.log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		err = cmd.run(ctx, inv)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "tsidp-server %s: %v\n", cmd.name, err)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(stderr, "Run tsidp-server %s -help for its use.\n", cmd.name)
		return exitUsage
	}
	return exitFailure
}

// parse reads the arguments behind the name of the command, among which flags
// may stand anywhere, and the environment.
func (cmd command) parse(args []string, getenv func(string) string) (*invocation, error) {
	if cmd.server {
		return cmd.parseServer(args, getenv)
	}
	inv := new(invocation)
	opts := cmd.own(&inv.config)
	given := make(map[string]string)
	fs := newFlagSet(opts, given)
	if cmd.json {
		fs.BoolVar(&inv.json, "json", false, "")
	}
	if cmd.name == "import" {
		fs.BoolVar(&inv.dryRun, "n", false, "")
	}
	for _, f := range cmd.flags {
		f.define(fs, inv)
	}
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err}
		}
		if fs.NArg() == 0 {
			break
		}
		inv.args, args = append(inv.args, fs.Arg(0)), fs.Args()[1:]
	}
	from := make(map[string]string)
	for _, o := range opts {
		value, source := o.lookup(given, getenv)
		if err := o.read(value, source); err != nil {
			return nil, usageError{err}
		}
		from[o.flag] = source
	}
	inv.config.passwordInArgs = from["store"] == "-store" && hasPassword(inv.config.store)
	return inv, nil
}

// parseServer reads the arguments and the environment as the server does.
func (cmd command) parseServer(args []string, getenv func(string) string) (*invocation, error) {
	inv := new(invocation)
	if cmd.name == "healthcheck" {
		n := len(args)
		args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-ready" || a == "--ready" })
		inv.ready = len(args) < n
	}
	var err error
	inv.config, err = parseConfig(args, getenv)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		err = usageError{err}
	}
	return inv, err
}

// own returns the options of the server that the command takes.
func (cmd command) own(c *config) []option {
	return slices.DeleteFunc(options(c), func(o option) bool { return !slices.Contains(cmd.options, o.flag) })
}

// usage writes the help of the command.
func (cmd command) usage(w io.Writer) {
	fmt.Fprintf(w, "usage: tsidp-server %s\n\n%s\n\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.help)
	for _, f := range cmd.flags {
		f.usage(w)
	}
	for _, o := range cmd.own(new(config)) {
		o.usage(w)
	}
	if cmd.json {
		fmt.Fprint(w, "  -json\n\tprint JSON, for programs\n")
	}
	if cmd.name == "import" {
		fmt.Fprint(w, "  -n\n\tshow only, import nothing\n")
	}
}
