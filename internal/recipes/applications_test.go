// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/recipes"
	"github.com/tailscale/tsidp/internal/recipes/recipetest"
)

// shared is the provider of all tests: making keys takes longer than they do.
var shared = sync.OnceValues(recipetest.New)

// A setting is an application that was set up by its recipe.
type setting struct {
	t       *testing.T
	w       *recipetest.World
	app     app
	recipe  recipes.Recipe
	setup   recipes.Setup
	printed *recipetest.Printed
	address string // at which people open it
}

// setUp does what the administrator does, on both sides.
func setUp(t *testing.T, a app, change func(*admin.ClientMetadata)) *setting {
	t.Helper()
	w, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	r, ok := recipes.Find(a.id)
	if !ok {
		t.Fatalf("no recipe %s", a.id)
	}
	s := &setting{t: t, w: w, app: a, recipe: r}
	values := r.Example().Values
	s.address = values["url"]
	if s.setup, err = w.SetUp(r, values, change); err != nil {
		t.Fatal(err)
	}
	if s.printed, err = recipetest.Read(r.Settings(s.setup)); err != nil {
		t.Fatal(err)
	}
	s.apply(recipetest.Alice, a.base...)
	return s
}

// apply gives somebody the rules of these sources, and no others.
func (s *setting) apply(p recipetest.Person, sources ...string) {
	s.t.Helper()
	grant := ""
	if len(sources) > 0 {
		grant = s.recipe.Grant(s.setup)
	}
	s.applyText(p, grant, sources...)
}

// applyText is apply for a grant that is not the recipe's.
func (s *setting) applyText(p recipetest.Person, grant string, sources ...string) {
	s.t.Helper()
	if err := s.w.Apply(p, grant, sources...); err != nil {
		s.t.Fatal(err)
	}
	s.w.Advance(2 * time.Second)
}

// login starts the application with these settings and logs Alice in.
func (s *setting) login(p *recipetest.Printed, redirect string) (*client, *session, error) {
	s.t.Helper()
	a := s.app
	if a.id == "mcp" {
		a.send = url.Values{"prompt": {"consent"}, "resource": {p.Get("MCP server")}}
	}
	c, err := a.start(s.w, p)
	if err != nil {
		return nil, nil, err
	}
	if redirect == "" {
		redirect = a.redirects(p, s.address)[0]
	}
	session, err := c.login(s.w.NewBrowser(recipetest.Alice), redirect)
	return c, session, err
}

// hasRole reports whether the person has the role in the application.
func (s *setting) hasRole(p *recipetest.Printed, session *session) bool {
	claim, value := s.app.role(p)
	switch v := session.claims[claim].(type) {
	case string:
		return v == value
	case []any:
		return slices.Contains(v, any(value))
	}
	return false
}

// TestApplications sets each application up from what is printed and logs in.
func TestApplications(t *testing.T) {
	for _, a := range apps {
		t.Run(a.id, func(t *testing.T) {
			s := setUp(t, a, nil)
			for _, redirect := range a.redirects(s.printed, s.address) {
				_, session, err := s.login(s.printed, redirect)
				if err != nil {
					t.Fatalf("%s: %v", redirect, err)
				}
				s.checkAccount(session)
			}
			t.Run("role", s.testRole)
			t.Run("refresh", s.testRefresh)
			t.Run("device", s.testDevice)
			t.Run("logout", s.testLogout)
			t.Run("granted", s.testGranted)
			t.Run("every setting counts", s.testSettings)
		})
	}
}

// TestGrafanaEmails: when it misses an e-mail address, Grafana asks for more
// of them where tsidp has nothing, and reads the answer as JSON.
func TestGrafanaEmails(t *testing.T) {
	grafana := apps[slices.IndexFunc(apps, func(a app) bool { return a.id == "grafana" })]
	s := setUp(t, grafana, nil)
	c, session, err := s.login(s.printed, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.getJSON(s.printed.Get("api_url")+"/emails", session.accessToken)
	if err == nil || !strings.Contains(err.Error(), "404 application/json {") {
		t.Errorf("asking for e-mail addresses: %v", err)
	}
}

// accountName is what all of them can have: Proxmox the least.
var accountName = regexp.MustCompile(`^[^\s:/]+$`)

func (s *setting) checkAccount(session *session) {
	s.t.Helper()
	switch name := s.app.account(s.printed); name {
	case "preferred_username":
		if !accountName.MatchString(session.account) || session.account != "alice" {
			s.t.Errorf("the account is %q", session.account)
		}
	case "email":
		if session.account != "alice@example.com" || session.claims["email_verified"] != true {
			s.t.Errorf("the account is %q, email_verified %v", session.account, session.claims["email_verified"])
		}
	case "sub":
		if session.account != "userid:1001" {
			s.t.Errorf("the account is %q", session.account)
		}
	case "name":
		if session.account != "A Person" {
			s.t.Errorf("the account is %q", session.account)
		}
	default:
		s.t.Errorf("the account is the claim %q", name)
	}
}

// testRole: the printed grant gives the role that the printed settings look
// for, and nothing else does.
func (s *setting) testRole(t *testing.T) {
	if s.app.role == nil {
		if strings.Count(s.recipe.Grant(s.setup), "{") != 3 {
			t.Error("the recipe has roles, the test has none")
		}
		return
	}
	if len(s.app.base) == 0 {
		_, session, err := s.login(s.printed, "")
		if err != nil {
			t.Fatal(err)
		}
		if s.hasRole(s.printed, session) {
			t.Errorf("has the role without a grant: %v", session.claims)
		}
	}
	s.apply(recipetest.Alice, s.app.roleFrom)
	defer s.apply(recipetest.Alice, s.app.base...)
	_, session, err := s.login(s.printed, "")
	if err != nil {
		t.Fatal(err)
	}
	if !s.hasRole(s.printed, session) {
		claim, value := s.app.role(s.printed)
		t.Errorf("%s is %v, want %s in it", claim, session.claims[claim], value)
	}
}

func (s *setting) testRefresh(t *testing.T) {
	if !s.app.refresh {
		return
	}
	c, session, err := s.login(s.printed, "")
	if err != nil {
		t.Fatal(err)
	}
	s.w.Advance(2 * time.Hour)
	later, err := c.renew(session)
	if err != nil {
		t.Fatal(err)
	}
	s.checkAccount(later)
}

// testDevice: the program asks, the person approves in a browser, and the
// program has its tokens.
func (s *setting) testDevice(t *testing.T) {
	if !s.app.device {
		return
	}
	c, err := s.app.start(s.w, s.printed)
	if err != nil {
		t.Fatal(err)
	}
	c.http = s.w.Device(recipetest.Alice)
	answer, err := c.postForm("device_authorization_endpoint", url.Values{"scope": {s.app.scope(s.printed)}, "audience": {""}}, none)
	if err != nil {
		t.Fatal(err)
	}
	poll := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {answer["device_code"].(string)}}
	if _, err := c.postToken(poll); err == nil || !strings.Contains(err.Error(), "authorization_pending") {
		t.Errorf("before the decision: %v", err)
	}
	b := s.w.NewBrowser(recipetest.Alice)
	page, err := b.Open(fmt.Sprint(answer["verification_uri_complete"]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = b.Press(page, "decision", "approve"); err != nil {
		t.Fatal(err)
	}
	s.w.Advance(6 * time.Second)
	tokens, err := c.postToken(poll)
	if err != nil {
		t.Fatal(err)
	}
	session, err := c.finish(tokens, "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.checkAccount(session)
}

// testLogout: the ID token has long expired when somebody logs out.
func (s *setting) testLogout(t *testing.T) {
	if s.app.logout == nil {
		return
	}
	c, session, err := s.login(s.printed, "")
	if err != nil {
		t.Fatal(err)
	}
	s.w.Advance(10 * time.Hour)
	link := s.app.logout(s.printed, c.meta, session)
	b := s.w.NewBrowser(recipetest.Alice)
	page, err := b.Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if page.Location == "" {
		if page, err = b.Press(page, "answer", "yes"); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(link, "post_logout_redirect_uri=") != (page.Location == home(session)) {
		t.Errorf("sent to %q: %d %s", page.Location, page.Status, page.Text)
	}
	if session.refreshToken != "" {
		if _, err := c.renew(session); err == nil {
			t.Error("still logged in")
		}
	}
}

// testGranted: with "access": "granted" the first rule of the printed grant
// lets people in, and nothing else does.
func (s *setting) testGranted(t *testing.T) {
	g := setUp(t, s.app, func(m *admin.ClientMetadata) { m.Access = "granted" })
	g.apply(recipetest.Alice)
	defer g.apply(recipetest.Alice)
	if _, _, err := g.login(g.printed, ""); err == nil || !strings.Contains(err.Error(), "tailscale.com/cap/tsidp") {
		t.Errorf("without a rule: %v", err)
	}
	g.apply(recipetest.Alice, append(slices.Clone(s.app.base), "group:"+s.app.id+"-users")...)
	if _, _, err := g.login(g.printed, ""); err != nil {
		t.Errorf("with the rule: %v", err)
	}
}

// testSettings shows that the test can fail: each setting that it has used is
// one without which nobody gets in, or not with their role.
func (s *setting) testSettings(t *testing.T) {
	used := s.printed.Used()
	s.apply(recipetest.Alice, append(slices.Clone(s.app.base), s.app.roleFrom)...)
	defer s.apply(recipetest.Alice)
	for _, name := range used {
		values := s.printed.All(name)
		wrong := make([]string, len(values))
		for i, v := range values {
			wrong[i] = "x" + v
		}
		p := s.printed.With(name, wrong...)
		_, session, err := s.login(p, "")
		if err == nil && s.app.role != nil && !s.hasRole(p, session) {
			continue
		}
		if err == nil && !slices.Contains(notForLogins, name) {
			t.Errorf("logged in with %s = %q", name, wrong)
		}
	}
	if len(used) < 3 {
		t.Errorf("only %q were used", used)
	}
}

// notForLogins are used for the logout alone.
var notForLogins = []string{"Logout URL", "OIDC_LOGOUT_URI", "signout_redirect_url", "logoutURL", "Logout endpoint", "Mobile Redirect URI Override"}

// TestAppsAreComplete: every recipe is tested.
func TestAppsAreComplete(t *testing.T) {
	for _, r := range recipes.All() {
		if !slices.ContainsFunc(apps, func(a app) bool { return a.id == r.ID }) {
			t.Errorf("%s is not tested", r.ID)
		}
	}
}
