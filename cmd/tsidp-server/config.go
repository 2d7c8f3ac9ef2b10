// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/simtailnet"
)

// A config is what the command line and the environment ask for.
type config struct {
	version bool

	dev       bool // simulated tailnet, loopback listener only
	localPort int  // port on loopback: 0 picks a free one, -1 means none (-dev: its default)

	dir         string // empty: see stateDir
	store       string // URL of a PostgreSQL database; empty: a file in the state directory
	keyFile     string
	keyRotation time.Duration // 0: the provider's default
	issuer      string        // empty: the node's own name
	clientsFile string        // empty: no clients are declared

	hostname      string
	port          int
	advertiseTags []string
	authKeyFile   string
	controlURL    string // empty: Tailscale's

	sts             bool
	funnel          bool
	tlsCert, tlsKey string  // files; empty: the certificates are Tailscale's
	listen          address // for the public routes

	useLocalTailscaled bool
	socket             string // of tailscaled; empty: where it usually is

	emailVerified      tsidp.EmailVerified
	omitResponseIssuer bool

	clientMetadata      clientMetadata
	clientMetadataAllow []string              // HOST[:PORT]
	clientMetadataFile  string                // "": none
	clientMetadataList  tsidp.ClientDocuments // what the file says

	metricsPort int // on loopback; -1: none

	logLevel                  slog.Level
	logJSON                   bool
	debugRequests, debugTsnet bool

	// What run adds.
	notify  notifier
	hangups <-chan os.Signal // ask for files to be read again

	// ignored are the environment variables that are set but are those of
	// another server than that of -dev, and with useLocalTailscaled all that
	// describes a node of our own.
	ignored []string
	// passwordInArgs: everybody on this machine can read a password of the
	// command line.
	passwordInArgs bool
}

// An option is one thing that can be configured: the single place that knows
// its flag, its environment variables, its default and its meaning.
type option struct {
	flag string
	arg  string   // what the flag takes, for people; empty for a boolean
	vars []string // environment variables, the first that is set wins
	def  string   // default, in the form that set reads
	set  func(string) error
	// tailnet marks an option that has no meaning without a real tailnet.
	tailnet bool
	// state marks an option that says whose state is used. With -dev only its
	// flag counts: the variables of a machine are those of the server in
	// production, whose state must not become that of a test.
	state bool
	// secret: the value may hold a password, so it is not repeated.
	secret bool
	help   string
}

// options returns all options, in the order of the help, dev before those
// that it forbids. Their set functions write to c.
//
// Where there are two variables, the second is that of earlier releases.
func options(c *config) []option {
	return []option{{
		flag: "dev", def: "false", set: boolean(&c.dev),
		help: "run on a simulated tailnet, reachable from this machine only, to try things out",
	}, {
		flag: "dir", arg: "DIR", vars: []string{"TSIDP_DIR", "TS_STATE_DIR"}, set: text(&c.dir), state: true,
		help: "directory for all state: clients, grants and keys in DIR/tsidp.db, the tailnet node, and the socket for the commands; by default tsnet-tsidp-server below the user's configuration directory; with -dev nothing is kept without it",
	}, {
		flag: "store", arg: "URL", vars: []string{"TSIDP_STORE"}, set: storeURL(&c.store), state: true, secret: true,
		help: "keep clients, grants and keys in this PostgreSQL database (postgres://USER@HOST/DATABASE), which several servers may share; a password belongs into the variable, PGPASSWORD or PGPASSFILE: all users of the machine can read the command line",
	}, {
		flag: "key-file", arg: "FILE", vars: []string{"TSIDP_KEY_FILE"}, set: text(&c.keyFile), state: true,
		help: "file with the 32-byte key that encrypts the signing keys in the store; once given it is needed at every start",
	}, {
		flag: "key-rotation", arg: "DURATION", vars: []string{"TSIDP_KEY_ROTATION"}, set: rotation(&c.keyRotation),
		help: "how long a signing key is used, such as 90d or 2160h: at least 7d, by default 90d",
	}, {
		flag: "clients", arg: "FILE", vars: []string{"TSIDP_CLIENTS"}, set: text(&c.clientsFile), state: true,
		help: "file with clients as JSON with comments, which is read at the start and on SIGHUP; what it declares is changed only there",
	}, {
		flag: "issuer", arg: "URL", vars: []string{"TSIDP_ISSUER"}, set: issuerURL(&c.issuer), tailnet: true,
		help: "the provider's name in all tokens; by default https:// and the node's full name. It must lead to this server",
	}, {
		flag: "tls-cert", arg: "FILE", vars: []string{"TSIDP_TLS_CERT"}, set: text(&c.tlsCert), tailnet: true,
		help: "certificate chain (PEM) for the name of -issuer, for the listener on the tailnet; read again when it changes",
	}, {
		flag: "tls-key", arg: "FILE", vars: []string{"TSIDP_TLS_KEY"}, set: text(&c.tlsKey), tailnet: true,
		help: "private key (PEM) of -tls-cert",
	}, {
		flag: "hostname", arg: "NAME", vars: []string{"TSIDP_HOSTNAME", "TS_HOSTNAME"}, def: "idp", set: name(&c.hostname), tailnet: true,
		help: "name of the node in the tailnet, and so the first part of the issuer's name",
	}, {
		flag: "port", arg: "PORT", vars: []string{"TSIDP_PORT"}, def: "443", set: number(&c.port, 1, 65535), tailnet: true,
		help: "port of the HTTPS listener on the tailnet; any other than 443 is part of the issuer",
	}, {
		flag: "local-port", arg: "PORT", vars: []string{"TSIDP_LOCAL_PORT"}, def: "-1", set: number(&c.localPort, -1, 65535),
		help: "also serve the public endpoints by plain HTTP on this port of the loopback addresses; 0 picks a free port, -1 is off; with -dev the port of everything, 9411 unless given",
	}, {
		flag: "listen", arg: "ADDRESS", vars: []string{"TSIDP_LISTEN"}, set: listenAddress(&c.listen), tailnet: true,
		help: "also serve the public endpoints by plain HTTP at unix:PATH or tcp:HOST:PORT, for a reverse proxy or the programs of a cluster; nobody can log in there",
	}, {
		flag: "control-url", arg: "URL", vars: []string{"TSIDP_CONTROL_URL", "TS_CONTROL_URL"}, set: controlURL(&c.controlURL), tailnet: true,
		help: "control server of the tailnet, such as a Headscale; by default Tailscale's",
	}, {
		flag: "authkey-file", arg: "FILE", vars: []string{"TSIDP_AUTHKEY_FILE", "TS_AUTHKEY_FILE"}, set: text(&c.authKeyFile), tailnet: true,
		help: "file with the auth key that lets the node join; excludes TS_AUTHKEY and TS_AUTH_KEY",
	}, {
		flag: "advertise-tags", arg: "TAGS", vars: []string{"TSIDP_ADVERTISE_TAGS", "TS_ADVERTISE_TAGS"}, set: tags(&c.advertiseTags), tailnet: true,
		help: "tags that the node asks for, separated by commas (tag:idp); needed to join with an OAuth client secret",
	}, {
		flag: "use-local-tailscaled", vars: []string{"TSIDP_USE_LOCAL_TAILSCALED"}, def: "false", set: boolean(&c.useLocalTailscaled), tailnet: true,
		help: "be served by the tailscaled of this machine, through its Serve, in place of a node of its own; needs root, or tailscaled's operator with sudo rights",
	}, {
		flag: "socket", arg: "FILE", vars: []string{"TSIDP_SOCKET", "TS_SOCKET"}, set: text(&c.socket), tailnet: true,
		help: "with -use-local-tailscaled, the socket of tailscaled if it is not in its usual place",
	}, {
		flag: "funnel", vars: []string{"TSIDP_USE_FUNNEL"}, def: "false", set: boolean(&c.funnel), tailnet: true,
		help: "offer the public endpoints to the internet through Tailscale Funnel, on -port, which must be 443, 8443 or 10000; logins stay on the tailnet",
	}, {
		flag: "enable-sts", vars: []string{"TSIDP_ENABLE_STS"}, def: "false", set: boolean(&c.sts),
		help: "enable token exchange, RFC 8693",
	}, {
		flag: "email-verified", arg: "WHOSE", vars: []string{"TSIDP_EMAIL_VERIFIED"}, set: emailVerified(&c.emailVerified),
		help: "whose addresses are asserted as verified: own:DOMAIN[,DOMAIN...], all or none; by default those of the tailnet's own domain",
	}, {
		flag: "no-response-iss", vars: []string{"TSIDP_NO_RESPONSE_ISS"}, def: "false", set: boolean(&c.omitResponseIssuer),
		help: "leave the parameter iss (RFC 9207) out of authorization responses, for old clients that stumble over it",
	}, {
		flag: "client-metadata", arg: "MODE", vars: []string{"TSIDP_CLIENT_METADATA"}, def: "on", set: metadataMode(&c.clientMetadata),
		help: "clients whose id is the https address of their metadata: on, off, or allowlist for those of -client-metadata-list only",
	}, {
		flag: "client-metadata-list", arg: "FILE", vars: []string{"TSIDP_CLIENT_METADATA_LIST"}, set: metadataList(&c.clientMetadataList, &c.clientMetadataFile),
		help: "JSON file with the addresses that allowlist lets in (allow) and documents that are used without fetching them (pinned)",
	}, {
		flag: "client-metadata-allow", arg: "HOSTS", vars: []string{"TSIDP_CLIENT_METADATA_ALLOW"}, set: hostList(&c.clientMetadataAllow),
		help: "HOST[:PORT] on private addresses, such as those of the tailnet, from which metadata and key sets of clients may be fetched, separated by commas",
	}, {
		flag: "log", arg: "LEVEL", vars: []string{"TSIDP_LOG"}, def: "info", set: level(&c.logLevel),
		help: "least severe messages to log: debug, info, warn or error",
	}, {
		flag: "log-format", arg: "FORMAT", vars: []string{"TSIDP_LOG_FORMAT"}, def: "text", set: logFormat(&c.logJSON),
		help: "text, or json for programs: one object per line",
	}, {
		flag: "metrics-port", arg: "PORT", vars: []string{"TSIDP_METRICS_PORT"}, def: "-1", set: number(&c.metricsPort, -1, 65535),
		help: "also serve /metrics by plain HTTP on this port of the loopback addresses, to everybody on this machine; 0 picks a free port, -1 is off",
	}, {
		flag: "debug-all-requests", vars: []string{"TSIDP_DEBUG_ALL_REQUESTS"}, def: "false", set: boolean(&c.debugRequests),
		help: "log all requests and responses, without their secrets; includes -log debug",
	}, {
		flag: "debug-tsnet", vars: []string{"TSIDP_DEBUG_TSNET"}, def: "false", set: boolean(&c.debugTsnet), tailnet: true,
		help: "log what the tailnet node does",
	}, {
		flag: "version", def: "false", set: boolean(&c.version),
		help: "print the version and exit",
	}}
}

// tsnetVars returns the names of the variables that tsnet reads by itself.
// TAILSCALE_USE_WIP_CODE, which earlier releases wanted, is not among them: it
// may be set and does nothing.
func tsnetVars() []string {
	return []string{
		"TS_AUTHKEY", "TS_AUTH_KEY", "TS_CLIENT_SECRET", "TS_CLIENT_ID", "TS_ID_TOKEN", "TS_AUDIENCE", "TSNET_FORCE_LOGIN",
	}
}

// parseConfig reads the command line and the environment; an empty variable
// counts as unset. It returns [flag.ErrHelp] if the help is asked for, and
// otherwise an error that names the flag or variable at fault.
func parseConfig(args []string, getenv func(string) string) (config, error) {
	var c config
	opts := options(&c)
	given, err := parseFlags(opts, args)
	if err != nil {
		return config{}, err
	}
	if asked, _ := strconv.ParseBool(given["version"]); asked {
		// A broken environment must not hide which version is broken.
		return config{version: true}, nil
	}
	from := make(map[string]string) // flag → the flag or variable that set it
	for _, o := range opts {
		value, source := o.lookup(given, getenv)
		if source != "" && c.dev && (o.tailnet || o.state) {
			switch {
			case source != "-"+o.flag:
				c.ignored, value, source = append(c.ignored, source), o.def, ""
			case o.tailnet:
				return config{}, devConflict(o.flag)
			}
		}
		if err := o.read(value, source); err != nil {
			return config{}, err
		}
		from[o.flag] = source
	}
	return c, c.check(from, getenv)
}

// parseFlags returns the texts of the flags in args, by their names.
func parseFlags(opts []option, args []string) (map[string]string, error) {
	given := make(map[string]string)
	fs := newFlagSet(opts, given)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %s: options begin with a hyphen, and a boolean takes its value as -flag=false", quoteArg(fs.Arg(0)))
	}
	return given, nil
}

// newFlagSet returns the flags of opts. Their texts go to given.
func newFlagSet(opts []option, given map[string]string) *flag.FlagSet {
	fs := flag.NewFlagSet("tsidp-server", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, o := range opts {
		keep := func(s string) error { given[o.flag] = s; return nil }
		if o.arg == "" {
			fs.BoolFunc(o.flag, o.help, keep)
		} else {
			fs.Func(o.flag, o.help, keep)
		}
	}
	return fs
}

// quoteArg returns an argument as a message may repeat it: not if it is a URL
// that may hold a password.
func quoteArg(s string) string {
	if strings.Contains(s, "://") {
		return "(a URL)"
	}
	return strconv.Quote(s)
}

// lookup returns the text for o and the flag or variable that it comes from,
// which is empty for the default. A flag beats the variables.
func (o option) lookup(given map[string]string, getenv func(string) string) (value, source string) {
	if v, ok := given[o.flag]; ok {
		return v, "-" + o.flag
	}
	for _, name := range o.vars {
		if v := getenv(name); v != "" {
			return v, name
		}
	}
	return o.def, ""
}

// read gives o the text that source has.
func (o option) read(value, source string) error {
	err := o.set(value)
	source = cmp.Or(source, "-"+o.flag)
	switch {
	case err == nil:
		return nil
	case o.secret:
		return fmt.Errorf("invalid value for %s: %w", source, err)
	}
	return fmt.Errorf("invalid value %q for %s: %w", value, source, err)
}

func devConflict(name string) error {
	if name == "port" {
		return errors.New("-dev and -port exclude each other: the port of -dev is set by -local-port")
	}
	return fmt.Errorf("-dev and -%s exclude each other: -dev simulates a tailnet on this machine and joins none", name)
}

// check judges the options together. from names what has set them.
func (c *config) check(from map[string]string, getenv func(string) string) error {
	switch {
	case c.useLocalTailscaled:
		c.ignoreNode(from)
	case from["socket"] == "-socket":
		return errors.New("-socket names that of tailscaled: it needs -use-local-tailscaled")
	}
	for _, name := range tsnetVars() {
		switch {
		case getenv(name) == "":
		case c.dev, c.useLocalTailscaled:
			c.ignored = append(c.ignored, name)
		case c.authKeyFile != "" && (name == "TS_AUTHKEY" || name == "TS_AUTH_KEY"):
			return fmt.Errorf("%s and %s are both set: keep the one that holds the auth key", from["authkey-file"], name)
		}
	}
	if !c.dev && !c.useLocalTailscaled {
		if err := c.checkWorkload(from, getenv); err != nil {
			return err
		}
	}
	if err := c.checkListeners(from); err != nil {
		return err
	}
	c.passwordInArgs = from["store"] == "-store" && hasPassword(c.store)
	if c.dev && from["email-verified"] == "" {
		c.emailVerified.Domains = []string{simtailnet.Domain}
	}
	if c.debugRequests {
		c.logLevel = min(c.logLevel, slog.LevelDebug)
	}
	return nil
}

// checkListeners judges the options that say where to listen.
func (c *config) checkListeners(from map[string]string) error {
	switch {
	case c.useLocalTailscaled && c.tlsCert+c.tlsKey != "":
		return fmt.Errorf("%s and %s exclude each other: tailscaled ends TLS, with the certificate of its own name", cmp.Or(from["tls-cert"], from["tls-key"]), from["use-local-tailscaled"])
	case c.tlsCert != "" && c.tlsKey == "":
		return fmt.Errorf("%s is set without -tls-key: a certificate needs its key", from["tls-cert"])
	case c.tlsKey != "" && c.tlsCert == "":
		return fmt.Errorf("%s is set without -tls-cert: a key is for a certificate", from["tls-key"])
	case c.tlsCert != "" && c.issuer == "":
		return fmt.Errorf("%s is set without -issuer, which says what name the certificate is for; the node's own name gets one from Tailscale", from["tls-cert"])
	case c.funnel && !slices.Contains(funnelPorts, c.port):
		return fmt.Errorf("%s and %s %d exclude each other: Funnel has the ports 443, 8443 and 10000", from["funnel"], cmp.Or(from["port"], "-port"), c.port)
	}
	return nil
}

// ignoreNode notes the options for a node of our own, where there is none.
// Earlier releases ignored them too.
func (c *config) ignoreNode(from map[string]string) {
	for _, name := range []string{"hostname", "control-url", "authkey-file", "advertise-tags", "debug-tsnet"} {
		if source := from[name]; source != "" {
			c.ignored = append(c.ignored, source)
		}
	}
}
