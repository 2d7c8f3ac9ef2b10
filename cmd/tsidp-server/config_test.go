// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"flag"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp"
)

// environment returns a getenv over lines of the form NAME=value.
func environment(lines ...string) func(string) string {
	return func(name string) string {
		for _, l := range lines {
			if v, ok := strings.CutPrefix(l, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

// defaults returns what parseConfig says about an empty world.
func defaults() config {
	return config{hostname: "idp", port: 443, localPort: -1, metricsPort: -1, clientMetadata: metadataOn, logLevel: slog.LevelInfo}
}

// devDefaults returns the same for -dev.
func devDefaults() config {
	c := defaults()
	c.dev = true
	c.emailVerified.Domains = []string{"example.com"}
	return c
}

func TestParseConfig(t *testing.T) {
	tests := []struct {
		name   string
		args   string
		env    []string
		change func(*config) // of defaults, or of devDefaults if args say -dev
	}{
		{name: "nothing"},
		{
			name: "flags",
			args: "-dir /d -hostname login -port 8443 -local-port 8080 -advertise-tags tag:a,tag:b -authkey-file /k -log warn -debug-tsnet -email-verified own:example.org -no-response-iss -enable-sts -issuer https://login.example -key-rotation 30d -key-file /kek -store postgres://u@h/d -log-format JSON -metrics-port 9100",
			change: func(c *config) {
				*c = config{
					clientMetadata: metadataOn,
					dir:            "/d", hostname: "login", port: 8443, localPort: 8080,
					issuer: "https://login.example", keyRotation: 30 * 24 * time.Hour, keyFile: "/kek", store: "postgres://u@h/d",
					advertiseTags: []string{"tag:a", "tag:b"}, authKeyFile: "/k",
					logLevel: slog.LevelWarn, debugTsnet: true, logJSON: true, metricsPort: 9100,
					emailVerified:      tsidp.EmailVerified{Domains: []string{"example.org"}},
					omitResponseIssuer: true, sts: true,
				}
			},
		},
		{name: "two hyphens and an equals sign", args: "--port=8443", change: func(c *config) { c.port = 8443 }},
		{
			name: "variables",
			env: []string{
				"TSIDP_DIR=/d", "TSIDP_HOSTNAME=login", "TSIDP_PORT=8443", "TSIDP_LOCAL_PORT=0",
				"TSIDP_ADVERTISE_TAGS=tag:a", "TSIDP_AUTHKEY_FILE=/k", "TSIDP_LOG=error",
				"TSIDP_DEBUG_TSNET=1", "TSIDP_EMAIL_VERIFIED=all", "TSIDP_NO_RESPONSE_ISS=t",
				"TSIDP_ISSUER=https://login.example/idp", "TSIDP_KEY_ROTATION=2160h", "TSIDP_KEY_FILE=/kek",
				"TSIDP_STORE=postgresql:///d?host=/run/postgresql&password=hush", "TSIDP_LOG_FORMAT=json", "TSIDP_METRICS_PORT=0",
			},
			change: func(c *config) {
				*c = config{
					clientMetadata: metadataOn,
					dir:            "/d", hostname: "login", port: 8443, localPort: 0,
					issuer: "https://login.example/idp", keyRotation: 2160 * time.Hour, keyFile: "/kek",
					store:         "postgresql:///d?host=/run/postgresql&password=hush",
					advertiseTags: []string{"tag:a"}, authKeyFile: "/k",
					logLevel: slog.LevelError, debugTsnet: true, logJSON: true,
					emailVerified: tsidp.EmailVerified{All: true}, omitResponseIssuer: true,
				}
			},
		},
		{
			name: "legacy variables",
			env:  []string{"TS_STATE_DIR=/d", "TS_HOSTNAME=login", "TS_ADVERTISE_TAGS=tag:a", "TS_AUTHKEY_FILE=/k"},
			change: func(c *config) {
				c.dir, c.hostname, c.advertiseTags, c.authKeyFile = "/d", "login", []string{"tag:a"}, "/k"
			},
		},
		{
			name: "new names beat legacy names",
			env: []string{
				"TS_STATE_DIR=/old", "TS_HOSTNAME=old", "TS_ADVERTISE_TAGS=tag:old", "TS_AUTHKEY_FILE=/old",
				"TSIDP_DIR=/d", "TSIDP_HOSTNAME=login", "TSIDP_ADVERTISE_TAGS=tag:a", "TSIDP_AUTHKEY_FILE=/k",
			},
			change: func(c *config) {
				c.dir, c.hostname, c.advertiseTags, c.authKeyFile = "/d", "login", []string{"tag:a"}, "/k"
			},
		},
		{
			name:   "flags beat variables, also bad ones",
			args:   "-dir /flag -port 8443 -debug-tsnet=false -funnel=false -log debug",
			env:    []string{"TSIDP_DIR=/env", "TSIDP_PORT=many", "TSIDP_DEBUG_TSNET=true", "TSIDP_USE_FUNNEL=perhaps", "TSIDP_LOG=error"},
			change: func(c *config) { c.dir, c.port, c.logLevel = "/flag", 8443, slog.LevelDebug },
		},
		{name: "an empty flag beats a variable", args: "-authkey-file=", env: []string{"TS_AUTHKEY_FILE=/k", "TS_AUTHKEY=k"}},
		{name: "empty variables are unset", env: []string{"TSIDP_PORT=", "TSIDP_HOSTNAME=", "TS_HOSTNAME=login", "TSIDP_USE_FUNNEL="}, change: func(c *config) { c.hostname = "login" }},
		{name: "the last of two flags counts", args: "-port 1 -port 2", change: func(c *config) { c.port = 2 }},
		{name: "work in progress", env: []string{"TAILSCALE_USE_WIP_CODE=1"}},
		{name: "later parts switched off", args: "-funnel=0", env: []string{"TSIDP_USE_LOCAL_TAILSCALED=false", "TSIDP_ENABLE_STS=F"}},
		{name: "auth key from the environment", env: []string{"TS_AUTHKEY=k"}},
		{name: "spaces between tags", args: "-advertise-tags=tag:a,\ttag:b", change: func(c *config) { c.advertiseTags = []string{"tag:a", "tag:b"} }},
		{name: "a password for all to see", args: "-store postgres://u:p@h/d", change: func(c *config) { c.store, c.passwordInArgs = "postgres://u:p@h/d", true }},
		{name: "the same as a parameter", args: "-store postgres://h/d?password=p", change: func(c *config) { c.store, c.passwordInArgs = "postgres://h/d?password=p", true }},
		{name: "a password that only this user sees", env: []string{"TSIDP_STORE=postgres://u:p@h/d"}, change: func(c *config) { c.store = "postgres://u:p@h/d" }},
		{name: "level in capitals", args: "-log=DEBUG", change: func(c *config) { c.logLevel = slog.LevelDebug }},
		{
			name:   "debugging requests needs their level",
			args:   "-debug-all-requests -log error",
			change: func(c *config) { c.debugRequests, c.logLevel = true, slog.LevelDebug },
		},
		{
			name:   "version, whatever the environment is",
			args:   "-version",
			env:    []string{"TSIDP_PORT=many"},
			change: func(c *config) { *c = config{version: true} },
		},
		{name: "funnel", args: "-funnel", change: func(c *config) { c.funnel = true }},
		{name: "funnel, as it was spelt", env: []string{"TSIDP_USE_FUNNEL=1", "TSIDP_PORT=10000"}, change: func(c *config) { c.funnel, c.port = true, 10000 }},
		{
			name: "a name of its own",
			args: "-issuer https://id.example.com -tls-cert /c -tls-key /k",
			change: func(c *config) {
				c.issuer, c.tlsCert, c.tlsKey = "https://id.example.com", "/c", "/k"
			},
		},
		{
			name: "a name of its own, by variables",
			env:  []string{"TSIDP_ISSUER=https://id.example.com", "TSIDP_TLS_CERT=/c", "TSIDP_TLS_KEY=/k"},
			change: func(c *config) {
				c.issuer, c.tlsCert, c.tlsKey = "https://id.example.com", "/c", "/k"
			},
		},
		{name: "public on a socket", args: "-listen unix:/run/tsidp/public.sock", change: func(c *config) { c.listen = address{"unix", "/run/tsidp/public.sock"} }},
		{name: "public on all addresses", env: []string{"TSIDP_LISTEN=tcp::8080"}, change: func(c *config) { c.listen = address{"tcp", ":8080"} }},
		{name: "public on one address", args: "-listen tcp:[::1]:8080 -local-port 9000", change: func(c *config) { c.listen, c.localPort = address{"tcp", "[::1]:8080"}, 9000 }},
		{name: "another control server", args: "-control-url https://headscale.example", env: []string{"TS_CONTROL_URL=x"}, change: func(c *config) { c.controlURL = "https://headscale.example" }},
		{name: "another control server, as tsnet spells it", env: []string{"TS_CONTROL_URL=http://127.0.0.1:8080"}, change: func(c *config) { c.controlURL = "http://127.0.0.1:8080" }},
		{name: "two control servers", env: []string{"TS_CONTROL_URL=x", "TSIDP_CONTROL_URL=https://headscale.example/"}, change: func(c *config) { c.controlURL = "https://headscale.example/" }},
		{name: "workload identity", args: "-advertise-tags tag:idp", env: []string{"TS_CLIENT_ID=i", "TS_ID_TOKEN=t"}, change: func(c *config) { c.advertiseTags = []string{"tag:idp"} }},
		{name: "workload identity of a cloud", args: "-advertise-tags tag:idp", env: []string{"TS_CLIENT_ID=i", "TS_AUDIENCE=a"}, change: func(c *config) { c.advertiseTags = []string{"tag:idp"} }},
		{name: "OAuth client with its id", env: []string{"TS_CLIENT_ID=i", "TS_CLIENT_SECRET=s"}},
		{
			name: "workload identity beside the local tailscaled", args: "-use-local-tailscaled", env: []string{"TS_CLIENT_ID=i", "TS_CONTROL_URL=https://headscale.example"},
			change: func(c *config) {
				c.useLocalTailscaled, c.controlURL = true, "https://headscale.example"
				c.ignored = []string{"TS_CONTROL_URL", "TS_CLIENT_ID"}
			},
		},
		{
			name: "local tailscaled",
			args: "-use-local-tailscaled -funnel -port 8443",
			env:  []string{"TS_SOCKET=/run/ts.sock", "TS_HOSTNAME=login", "TS_AUTHKEY_FILE=/k", "TS_AUTHKEY=k"},
			change: func(c *config) {
				c.useLocalTailscaled, c.funnel, c.port, c.socket = true, true, 8443, "/run/ts.sock"
				c.hostname, c.authKeyFile = "login", "/k"
				c.ignored = []string{"TS_HOSTNAME", "TS_AUTHKEY_FILE", "TS_AUTHKEY"}
			},
		},
		{
			name:   "socket of the tailscale command",
			env:    []string{"TS_SOCKET=/run/ts.sock"},
			change: func(c *config) { c.socket = "/run/ts.sock" },
		},
		{name: "dev", args: "-dev"},
		{name: "no dev", args: "-dev=false -hostname login", change: func(c *config) { *c = defaults(); c.hostname = "login" }},
		{name: "dev with a port", args: "-dev", env: []string{"TSIDP_LOCAL_PORT=8080"}, change: func(c *config) { c.localPort = 8080 }},
		{name: "dev with a directory", args: "-dev -dir /d", change: func(c *config) { c.dir = "/d" }},
		{
			name: "dev with state",
			args: "-dev -dir /d -store postgres:///test -key-file /kek -key-rotation 7d",
			change: func(c *config) {
				c.dir, c.store, c.keyFile, c.keyRotation = "/d", "postgres:///test", "/kek", 7*24*time.Hour
			},
		},
		{
			name: "dev beside the state of production",
			args: "-dev",
			env:  []string{"TSIDP_DIR=/d", "TSIDP_STORE=mysql://u:p@h", "TSIDP_KEY_FILE=/kek", "TSIDP_ISSUER=https://login.example", "TSIDP_KEY_ROTATION=8d"},
			change: func(c *config) {
				c.ignored = []string{"TSIDP_DIR", "TSIDP_STORE", "TSIDP_KEY_FILE", "TSIDP_ISSUER"}
				c.keyRotation = 8 * 24 * time.Hour
			},
		},
		{
			name:   "dev with verified addresses",
			args:   "-dev -email-verified none",
			change: func(c *config) { c.emailVerified = tsidp.EmailVerified{None: true} },
		},
		{
			name: "dev in the environment of production",
			args: "-dev",
			env: []string{
				"TS_HOSTNAME=login", "TSIDP_PORT=many", "TSIDP_USE_FUNNEL=1", "TSIDP_USE_LOCAL_TAILSCALED=maybe",
				"TS_AUTHKEY_FILE=/k", "TSIDP_ADVERTISE_TAGS=none", "TSIDP_DEBUG_TSNET=1",
				"TS_AUTHKEY=k", "TS_CONTROL_URL=https://control.example", "TSIDP_LISTEN=tcp", "TS_AUDIENCE=a",
			},
			change: func(c *config) {
				c.ignored = []string{
					"TS_HOSTNAME", "TSIDP_PORT", "TSIDP_LISTEN", "TS_CONTROL_URL", "TS_AUTHKEY_FILE", "TSIDP_ADVERTISE_TAGS",
					"TSIDP_USE_LOCAL_TAILSCALED", "TSIDP_USE_FUNNEL", "TSIDP_DEBUG_TSNET",
					"TS_AUTHKEY", "TS_AUDIENCE",
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Split(tt.args, " ")
			if tt.args == "" {
				args = nil
			}
			want := defaults()
			if args != nil && args[0] == "-dev" {
				want = devDefaults()
			}
			if tt.change != nil {
				tt.change(&want)
			}
			got, err := parseConfig(args, environment(tt.env...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{}, address{}, notifier{})); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseConfigErrors(t *testing.T) {
	tests := []struct {
		args string
		env  []string
		want []string // texts in the message
	}{
		{args: "-port many", want: []string{"-port", `"many"`}},
		{args: "-port 0", want: []string{"-port", `"0"`, "1 to 65535"}},
		{args: "-port 65536", want: []string{"-port", `"65536"`}},
		{env: []string{"TSIDP_PORT=80 "}, want: []string{"TSIDP_PORT", `"80 "`}},
		{args: "-local-port -2", want: []string{"-local-port", `"-2"`}},
		{env: []string{"TSIDP_LOCAL_PORT=1.5"}, want: []string{"TSIDP_LOCAL_PORT", `"1.5"`}},
		{args: "-funnel=yes", want: []string{"-funnel", `"yes"`, "true or false"}},
		{env: []string{"TSIDP_USE_FUNNEL=on"}, want: []string{"TSIDP_USE_FUNNEL", `"on"`, "true or false"}},
		{env: []string{"TSIDP_ENABLE_STS=2"}, want: []string{"TSIDP_ENABLE_STS", `"2"`}},
		{env: []string{"TSIDP_USE_LOCAL_TAILSCALED=no"}, want: []string{"TSIDP_USE_LOCAL_TAILSCALED", `"no"`}},
		{env: []string{"TSIDP_DEBUG_ALL_REQUESTS=x"}, want: []string{"TSIDP_DEBUG_ALL_REQUESTS", `"x"`}},
		{env: []string{"TSIDP_DEBUG_TSNET=x"}, want: []string{"TSIDP_DEBUG_TSNET", `"x"`}},
		{env: []string{"TSIDP_NO_RESPONSE_ISS=x"}, want: []string{"TSIDP_NO_RESPONSE_ISS", `"x"`}},
		{args: "-dev=maybe", want: []string{"-dev", `"maybe"`}},
		{args: "-log loud", want: []string{"-log", `"loud"`, "debug, info, warn or error"}},
		{env: []string{"TSIDP_LOG=trace"}, want: []string{"TSIDP_LOG", `"trace"`}},
		{args: "-email-verified some", want: []string{"-email-verified", `"some"`}},
		{env: []string{"TSIDP_EMAIL_VERIFIED=own:nodomain"}, want: []string{"TSIDP_EMAIL_VERIFIED", "nodomain"}},
		{args: "-advertise-tags ci", want: []string{"-advertise-tags", `"ci"`, "tag:"}},
		{env: []string{"TS_ADVERTISE_TAGS=tag:a,,tag:b"}, want: []string{"TS_ADVERTISE_TAGS", "tag:a,,tag:b"}},
		{args: "-hostname=", want: []string{"-hostname", `""`}},
		{args: "-issuer http://idp.example", want: []string{"-issuer", "http://idp.example", "https"}},
		{env: []string{"TSIDP_ISSUER=https://idp.example/"}, want: []string{"TSIDP_ISSUER", "slash"}},
		{args: "-key-rotation 6d", want: []string{"-key-rotation", `"6d"`, "at least"}},
		{args: "-key-rotation 0d", want: []string{"-key-rotation", `"0d"`}},
		{args: "-key-rotation 0", want: []string{"-key-rotation", `"0"`}},
		{args: "-key-rotation -90d", want: []string{"-key-rotation", `"-90d"`}},
		{args: "-key-rotation 1.5d", want: []string{"-key-rotation", `"1.5d"`}},
		{args: "-key-rotation 90", want: []string{"-key-rotation", `"90"`, "90d or 2160h"}},
		{env: []string{"TSIDP_KEY_ROTATION=always"}, want: []string{"TSIDP_KEY_ROTATION", `"always"`}},
		{args: "-store mysql://u:secret@h/d", want: []string{"-store", `"mysql"`, "postgres://"}},
		{args: "-store host=h,password=secret", want: []string{"-store", "postgres://", "-dir"}},
		{env: []string{"TSIDP_STORE=file.db?secret"}, want: []string{"TSIDP_STORE", "postgres://", "-dir"}},
		{args: "postgres://u:secret@h/d", want: []string{"unexpected argument (a URL)"}},
		{args: "-dev -issuer https://login.example", want: []string{"-dev", "-issuer"}},
		{args: "-unknown", want: []string{"-unknown"}},
		{args: "-port", want: []string{"-port"}},
		{args: "serve", want: []string{"unexpected argument", `"serve"`}},
		{args: "-funnel false", want: []string{"unexpected argument", `"false"`}},

		{args: "-funnel -port 444", want: []string{"-funnel", "-port 444", "443, 8443 and 10000"}},
		{env: []string{"TSIDP_USE_FUNNEL=1", "TSIDP_PORT=80"}, want: []string{"TSIDP_USE_FUNNEL and TSIDP_PORT 80"}},
		{args: "-tls-cert /c", want: []string{"-tls-cert is set without -tls-key"}},
		{args: "-tls-key /k", want: []string{"-tls-key is set without -tls-cert"}},
		{args: "-tls-cert /c", env: []string{"TSIDP_TLS_KEY=/k"}, want: []string{"-tls-cert is set without -issuer"}},
		{env: []string{"TSIDP_TLS_CERT=/c"}, want: []string{"TSIDP_TLS_CERT is set without -tls-key"}},
		{args: "-listen /run/tsidp.sock", want: []string{"-listen", "unix:PATH or tcp:HOST:PORT"}},
		{args: "-listen unix:", want: []string{"-listen", "unix:PATH"}},
		{args: "-listen unix:/" + strings.Repeat("x", 100), want: []string{"-listen", "101 bytes"}},
		{args: "-listen tcp:8080", want: []string{"-listen", "want a port"}},
		{args: "-listen tcp:127.0.0.1:http", want: []string{"-listen", "want a port"}},
		{args: "-listen tcp::0", want: []string{"-listen", "want a port"}},
		{env: []string{"TSIDP_LISTEN=udp::53"}, want: []string{"TSIDP_LISTEN", `"udp::53"`}},
		{args: "-control-url headscale.example", want: []string{"-control-url", "https://headscale.example.com"}},
		{args: "-control-url https://u:p@headscale.example", want: []string{"-control-url"}},
		{env: []string{"TS_CONTROL_URL=ftp://x"}, want: []string{"TS_CONTROL_URL", "ftp://x"}},
		{args: "-dev -listen tcp::8080", want: []string{"-dev", "-listen"}},
		{args: "-dev -tls-cert /c", want: []string{"-dev", "-tls-cert"}},
		{args: "-dev -tls-key /k", want: []string{"-dev", "-tls-key"}},
		{args: "-dev -control-url https://x", want: []string{"-dev", "-control-url"}},
		{args: "-socket /s", want: []string{"-socket", "-use-local-tailscaled"}},
		{args: "-dev -socket /s", want: []string{"-dev", "-socket"}},
		{env: []string{"TSIDP_USE_LOCAL_TAILSCALED=maybe"}, want: []string{"TSIDP_USE_LOCAL_TAILSCALED", `"maybe"`}},

		{args: "-authkey-file /k", env: []string{"TS_AUTHKEY=secret"}, want: []string{"-authkey-file", "TS_AUTHKEY"}},
		{args: "-authkey-file /k", env: []string{"TS_AUTH_KEY=secret"}, want: []string{"-authkey-file", "TS_AUTH_KEY"}},
		{env: []string{"TS_AUTHKEY_FILE=/k", "TS_AUTHKEY=secret"}, want: []string{"TS_AUTHKEY_FILE", "TS_AUTHKEY "}},

		{args: "-advertise-tags tag:idp", env: []string{"TS_CLIENT_ID=i", "TS_ID_TOKEN=secret", "TS_AUDIENCE=a"}, want: []string{"TS_ID_TOKEN and TS_AUDIENCE are both set"}},
		{env: []string{"TS_ID_TOKEN=secret"}, want: []string{"TS_ID_TOKEN is set without TS_CLIENT_ID"}},
		{env: []string{"TS_AUDIENCE=a"}, want: []string{"TS_AUDIENCE is set without TS_CLIENT_ID"}},
		{env: []string{"TS_CLIENT_ID=i"}, want: []string{"TS_CLIENT_ID is set alone", "TS_ID_TOKEN or TS_AUDIENCE"}},
		{env: []string{"TS_CLIENT_ID=i", "TS_ID_TOKEN=secret"}, want: []string{"without -advertise-tags", "tag:idp"}},
		{env: []string{"TS_AUTHKEY=secret", "TS_CLIENT_ID=i", "TS_ID_TOKEN=secret"}, want: []string{"TS_AUTHKEY and TS_ID_TOKEN are both set"}},
		{args: "-authkey-file /k", env: []string{"TS_CLIENT_ID=i", "TS_AUDIENCE=a"}, want: []string{"-authkey-file and TS_AUDIENCE are both set"}},
		{args: "-use-local-tailscaled -issuer https://x -tls-cert /c -tls-key /k", want: []string{"-tls-cert and -use-local-tailscaled exclude each other"}},
		{args: "-use-local-tailscaled", env: []string{"TSIDP_TLS_KEY=/k"}, want: []string{"TSIDP_TLS_KEY and -use-local-tailscaled"}},

		{args: "-dev -funnel", want: []string{"-dev", "-funnel"}},
		{args: "-funnel=false -dev", want: []string{"-dev", "-funnel"}},
		{args: "-dev -use-local-tailscaled", want: []string{"-dev", "-use-local-tailscaled"}},
		{args: "-dev -hostname idp", want: []string{"-dev", "-hostname"}},
		{args: "-dev -authkey-file /k", want: []string{"-dev", "-authkey-file"}},
		{args: "-dev -advertise-tags tag:ci", want: []string{"-dev", "-advertise-tags"}},
		{args: "-dev -port 8443", want: []string{"-dev", "-port", "-local-port"}},
	}
	for _, tt := range tests {
		t.Run(tt.args+strings.Join(tt.env, " "), func(t *testing.T) {
			args := strings.Split(tt.args, " ")
			if tt.args == "" {
				args = nil
			}
			_, err := parseConfig(args, environment(tt.env...))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
}

func TestParseConfigHelp(t *testing.T) {
	for _, arg := range []string{"-help", "-h", "--help"} {
		if _, err := parseConfig([]string{arg}, environment()); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: error %v, want %v", arg, err, flag.ErrHelp)
		}
	}
}

// Every option is explained, and no two have a flag or variable in common.
func TestOptions(t *testing.T) {
	var help strings.Builder
	usage(&help)
	seen := make(map[string]bool)
	for _, o := range options(new(config)) {
		for _, name := range append([]string{"-" + o.flag}, o.vars...) {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
			if !strings.Contains(help.String(), name) {
				t.Errorf("the help does not tell %s", name)
			}
		}
		if o.help == "" {
			t.Errorf("-%s is not explained", o.flag)
		}
		if err := o.set(o.def); err != nil {
			t.Errorf("-%s: default %q: %v", o.flag, o.def, err)
		}
	}
	if first := options(new(config))[0].flag; first != "dev" {
		t.Errorf("the first option is -%s; -dev must be known before those that it forbids", first)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("-dev\n-local-port\n0", "TS_HOSTNAME=login\nTS_AUTHKEY=k")
	f.Add("-port=8443\n-log\nwarn", "TSIDP_EMAIL_VERIFIED=own:example.com")
	f.Add("-advertise-tags\ntag:a,tag:b", "TSIDP_USE_FUNNEL=maybe")
	f.Add("-h", "")
	f.Add("--\nx", "TSIDP_PORT=99999999999999999999")
	f.Fuzz(func(t *testing.T, args, env string) {
		c, err := parseConfig(strings.Split(args, "\n"), environment(strings.Split(env, "\n")...))
		if err != nil || c.version {
			return
		}
		if c.port < 1 || c.port > 65535 || c.localPort < -1 || c.localPort > 65535 || c.hostname == "" {
			t.Errorf("accepted %+v", c)
		}
		if c.useLocalTailscaled && c.dev {
			t.Errorf("accepted what is not built: %+v", c)
		}
		if c.dev && (c.funnel || c.listen != (address{}) || c.tlsCert != "" || c.controlURL != "") {
			t.Errorf("development mode that others reach: %+v", c)
		}
		if c.dev && (c.port != 443 || c.hostname != "idp" || c.authKeyFile != "" || len(c.advertiseTags) > 0) {
			t.Errorf("development mode with options of a tailnet: %+v", c)
		}
	})
}
