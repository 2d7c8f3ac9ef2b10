// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/tailcfg"
)

// The readers of options.

func boolean(dst *bool) func(string) error {
	return func(s string) (err error) {
		if *dst, err = strconv.ParseBool(s); err != nil {
			return errors.New("want true or false")
		}
		return nil
	}
}

func number(dst *int, least, most int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("want a number from %d to %d", least, most)
		}
		*dst = n
		return nil
	}
}

func text(dst *string) func(string) error {
	return func(s string) error { *dst = s; return nil }
}

func name(dst *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("want a name")
		}
		*dst = s
		return nil
	}
}

func tags(dst *[]string) func(string) error {
	return func(s string) error {
		*dst = nil
		if s == "" {
			return nil
		}
		for t := range strings.SplitSeq(s, ",") {
			t = strings.TrimSpace(t)
			if err := tailcfg.CheckTag(t); err != nil {
				return err
			}
			*dst = append(*dst, t)
		}
		return nil
	}
}

func level(dst *slog.Level) func(string) error {
	return func(s string) error {
		switch strings.ToLower(s) {
		case "debug":
			*dst = slog.LevelDebug
		case "info":
			*dst = slog.LevelInfo
		case "warn":
			*dst = slog.LevelWarn
		case "error":
			*dst = slog.LevelError
		default:
			return errors.New("want debug, info, warn or error")
		}
		return nil
	}
}

func logFormat(json *bool) func(string) error {
	return func(s string) error {
		switch strings.ToLower(s) {
		case "text":
			*json = false
		case "json":
			*json = true
		default:
			return errors.New("want text or json")
		}
		return nil
	}
}

func emailVerified(dst *tsidp.EmailVerified) func(string) error {
	return func(s string) (err error) {
		*dst, err = tsidp.ParseEmailVerified(s)
		return err
	}
}

// storeURL takes the URL of a PostgreSQL database. Errors do not repeat it.
func storeURL(dst *string) func(string) error {
	return func(s string) error {
		scheme, _, ok := strings.Cut(s, "://")
		switch {
		case s == "":
		case !ok:
			return errors.New("want a URL: postgres://USER@HOST/DATABASE; for a file leave it out and use -dir")
		case scheme != "postgres" && scheme != "postgresql":
			return fmt.Errorf("want postgres://USER@HOST/DATABASE, not %q; for a file leave it out and use -dir", scheme)
		}
		*dst = s
		return nil
	}
}

// hasPassword reports whether the URL of a database holds a password.
func hasPassword(store string) bool {
	u, err := url.Parse(store)
	if err != nil {
		return false // postgres.Open says what is wrong
	}
	_, inUser := u.User.Password()
	return inUser || u.Query().Has("password")
}

// rotation takes a duration, also in days.
func rotation(dst *time.Duration) func(string) error {
	return func(s string) error {
		if s == "" {
			*dst = 0
			return nil
		}
		d, err := parseDays(s)
		if err != nil {
			return err
		}
		*dst = d
		return acceptable(tsidp.Config{Issuer: "https://idp.example", KeyRotation: d})
	}
}

func parseDays(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n == 0 {
			return 0, errors.New("want a number of days such as 90d")
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d == 0 {
		return 0, errors.New("want a duration such as 90d or 2160h")
	}
	return d, nil
}

func issuerURL(dst *string) func(string) error {
	return func(s string) error {
		*dst = s
		if s == "" {
			return nil
		}
		return acceptable(tsidp.Config{Issuer: s})
	}
}

// controlURL takes the URL of a control server.
func controlURL(dst *string) func(string) error {
	return func(s string) error {
		*dst = s
		if s == "" {
			return nil
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("want the URL of a control server, such as https://headscale.example.com")
		}
		return nil
	}
}

// acceptable asks the provider about c before anything has started.
func acceptable(c tsidp.Config) error {
	c.Tailnet, c.Store = nobody{}, memory.New()
	if _, err := tsidp.New(c); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "tsidp: Config."))
	}
	return nil
}
