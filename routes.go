// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Every route of every handler. What a listener exposes is read here:
//
//	                       Handler   PublicHandler   AdminHandler
//	                       tailnet   Funnel, local   unix socket
//	metadata, keys            ×            ×
//	token, userinfo,          ×            ×
//	introspection, revocation
//	healthz, readyz           ×            ×               ×
//	authorize, logout,        ×        static page
//	device
//	device authorization,     ×
//	registration
//	/api/v1, /clients/, /edit ×           403              ×
//	/, /me, /admin            ×
//	metrics                   ×                            ×
//
// MetricsHandler has metrics alone.

// A handlerFunc answers a request, or returns the error to answer with.
type handlerFunc func(http.ResponseWriter, *http.Request) error

// A route is one path with its handlers by method. GET serves HEAD too.
type route struct {
	path    string
	methods map[string]handlerFunc
	// page: errors are pages for people; otherwise JSON.
	page bool
	// ambient: who asks matters, so the request must have come to one of our
	// own names (DNS rebinding).
	ambient bool
	// cors: scripts of other origins may call it, see cors.go.
	cors bool
	// early: it answers before Run has opened the store, too.
	early bool
}

// publicRoutes need no identity of the caller: clients prove themselves.
func (p *Provider) publicRoutes() []route {
	routes := []route{
		{path: p.path + pathJWKS, cors: true, methods: get(p.serveKeys)},
		{path: p.path + pathToken, cors: true, methods: post(p.serveToken)},
		{path: p.path + pathIntrospect, methods: post(noteEvent(eventIntro, p.serveIntrospect))},
		{path: p.path + pathRevoke, cors: true, methods: post(noteEvent(eventRevoke, p.serveRevoke))},
		{path: p.path + pathUserinfo, cors: true, methods: map[string]handlerFunc{"GET": noteEvent(eventUserinfo, p.serveUserinfo), "POST": noteEvent(eventUserinfo, p.serveUserinfo)}},
	}
	for _, path := range p.metadataPaths() {
		routes = append(routes, route{path: path, cors: true, methods: get(p.serveMetadata)})
	}
	return append(routes, p.healthRoutes()...)
}

// metadataPaths: OpenID Connect Discovery appends the well-known part to the
// issuer, RFC 8414 inserts it before the issuer's path, and clients probe
// either for both.
func (p *Provider) metadataPaths() []string {
	paths := []string{wellKnownOAuth + p.path, wellKnownOpenID + p.path}
	if p.path != "" {
		paths = append(paths, p.path+wellKnownOAuth, p.path+wellKnownOpenID)
	}
	return paths
}

func (p *Provider) healthRoutes() []route {
	return []route{
		{path: p.path + pathHealth, early: true, methods: get(p.serveHealth)},
		{path: p.path + pathReady, early: true, methods: get(p.serveReady)},
	}
}

// tailnetRoutes are those beyond the public ones where WhoIs says who asks.
func (p *Provider) tailnetRoutes() []route {
	routes := []route{
		{path: p.path + pathAuthorize, page: true, ambient: true, methods: map[string]handlerFunc{"GET": noteEvent(eventLogin, p.serveAuthorize), "POST": noteEvent(eventLogin, p.serveAuthorize)}},
		{path: p.path + pathAuthorize + pathContinue, page: true, ambient: true, methods: post(noteEvent(eventLogin, p.serveAuthorizeContinue))},
		{path: p.path + pathLogout, page: true, ambient: true, methods: map[string]handlerFunc{"GET": noteEvent(eventLogout, p.serveLogout), "POST": noteEvent(eventLogout, p.serveLogout)}},
		{path: p.path + pathLogout + pathContinue, page: true, ambient: true, methods: post(noteEvent(eventLogout, p.serveLogoutContinue))},
	}
	routes = append(routes,
		route{path: p.path + pathDeviceAuthorization, ambient: true, methods: post(noteEvent(eventDevice, p.serveDeviceAuthorization))},
		route{path: p.path + pathDevice, page: true, ambient: true, methods: map[string]handlerFunc{"GET": noteEvent(eventDevice, p.serveDevice), "POST": noteEvent(eventDevice, p.serveDeviceDecision)}},
		route{path: p.path + pathMetrics, ambient: true, methods: get(p.requireMetrics(p.serveMetrics))},
	)
	routes = append(routes,
		route{path: p.path + pathRegister, ambient: true, cors: true, methods: post(noteEvent(eventRegister, p.serveRegister))},
		// The token says who asks.
		route{path: p.path + pathRegister + "/{id}", cors: true, methods: map[string]handlerFunc{
			"GET": noteEvent(eventRegister, p.serveRegistration), "PUT": noteEvent(eventRegister, p.serveUpdateRegistration),
			"DELETE": noteEvent(eventRegister, p.serveDeleteRegistration),
		}},
	)
	routes = append(routes, p.apiRoutes(p.requireAdmin)...)
	return append(routes, p.uiRoutes()...)
}

// uiRoutes are the pages of the administration, and everybody's own page.
func (p *Provider) uiRoutes() []route {
	page := func(path string, guard func(handlerFunc) handlerFunc, show, change handlerFunc) route {
		rt := route{path: p.path + path, page: true, ambient: true, methods: get(p.withWayBack(guard(show)))}
		if change != nil {
			rt.methods["POST"] = p.withWayBack(guard(p.sameOrigin(change)))
		}
		return rt
	}
	return []route{
		page("/{$}", p.requirePerson, p.serveHome, nil),
		page("/me", p.requirePerson, p.ui.Me, p.ui.ChangeMe),
		page("/admin/clients", p.requireAdmin, p.ui.Clients, nil),
		page("/admin/clients/{id}", p.requireAdmin, p.ui.Client, p.ui.ChangeClient),
		page("/admin/new", p.requireAdmin, p.ui.NewClient, p.ui.CreateClient),
		page("/admin/sessions", p.requireAdmin, p.ui.Sessions, p.ui.ChangeSessions),
		page("/admin/consents", p.requireAdmin, p.ui.Consents, p.ui.ChangeConsents),
		page("/admin/registrations", p.requireAdmin, p.ui.Registrations, nil),
		page("/admin/policy", p.requireAdmin, p.notFromElsewhere("check", p.ui.Policy), nil),
		page("/admin/audit", p.requireAdmin, p.ui.Audit, nil),
		page("/admin/audit.jsonl", p.requireAdmin, p.notFromElsewhere("", p.ui.ExportAudit), nil),
		page("/admin/keys", p.requireAdmin, p.ui.Keys, p.ui.ChangeKeys),
	}
}

// elsewhereRoutes stand in for tailnetRoutes on listeners without identity.
func (p *Provider) elsewhereRoutes() []route {
	anonymous := map[string]handlerFunc{"GET": p.serveNotOnTailnet, "POST": p.serveNotOnTailnet}
	return []route{
		{path: p.path + pathAuthorize, page: true, methods: anonymous},
		{path: p.path + pathLogout, page: true, methods: anonymous},
		{path: p.path + pathDevice, page: true, methods: anonymous},
		{path: p.path + pathAPI, methods: map[string]handlerFunc{"": serveNotHere}},
		{path: p.path + pathCompatClients, methods: map[string]handlerFunc{"": serveNotHere}},
		{path: p.path + pathCompatEdit, methods: map[string]handlerFunc{"": serveNotHere}},
	}
}

// serveNotHere tells those who administered earlier versions by a loopback
// port where to go.
func serveNotHere(http.ResponseWriter, *http.Request) error {
	return fail(codeAccessDenied, "this listener grants no administration, since others can reach it too: use the unix socket in the state directory of the server (tsidp-server client, or curl --unix-socket)")
}

// apiRoutes are the administration for scripts, behind guard.
func (p *Provider) apiRoutes(guard func(handlerFunc) handlerFunc) []route {
	return []route{
		{path: p.path + pathClients, ambient: true, methods: map[string]handlerFunc{
			"GET": guard(p.api.ListClients), "POST": guard(p.api.CreateClient),
		}},
		{path: p.path + pathClients + "/{id}", ambient: true, methods: map[string]handlerFunc{
			"GET": guard(p.api.GetClient), "PUT": guard(p.api.ReplaceClient), "DELETE": guard(p.api.DeleteClient),
		}},
		{path: p.path + pathClients + "/{id}/adopt", ambient: true, methods: post(guard(p.api.AdoptClient))},
		{path: p.path + pathClients + "/{id}/secrets", ambient: true, methods: post(guard(p.api.AddSecret))},
		{path: p.path + pathClients + "/{id}/secrets/{secret}", ambient: true, methods: map[string]handlerFunc{"DELETE": guard(p.api.EndSecret)}},
		// Those of earlier versions.
		{path: p.path + pathCompatClients + "{$}", ambient: true, methods: get(guard(p.api.ListCompat))},
		{path: p.path + pathCompatClients + "new", ambient: true, methods: post(guard(p.api.CreateCompat))},
		{path: p.path + pathCompatClients + "{id}", ambient: true, methods: map[string]handlerFunc{
			"GET": guard(p.api.GetCompat), "DELETE": guard(p.api.DeleteClient),
		}},
		{path: p.path + pathCompatEdit + "{id}", ambient: true, methods: post(guard(p.api.EditCompat))},
		{path: p.path + pathSessions, ambient: true, methods: map[string]handlerFunc{
			"GET": guard(p.api.ListSessions), "DELETE": guard(p.api.RevokeSessions),
		}},
		{path: p.path + pathSessions + "/{id}", ambient: true, methods: map[string]handlerFunc{"DELETE": guard(p.api.RevokeSession)}},
		{path: p.path + pathConsents, ambient: true, methods: get(guard(p.api.ListConsents))},
		{path: p.path + pathConsents + "/{id}", ambient: true, methods: map[string]handlerFunc{"DELETE": guard(p.api.RevokeConsent)}},
		{path: p.path + pathAudit, ambient: true, methods: get(guard(p.api.ListAudit))},
		{path: p.path + pathPolicy + "/explain", ambient: true, methods: get(guard(p.api.ExplainPolicy))},
		{path: p.path + pathPolicy + "/check", ambient: true, methods: get(guard(p.notFromElsewhere("", p.api.CheckPolicy)))},
		{path: p.path + pathKeys, ambient: true, methods: get(guard(p.api.ListKeys))},
		{path: p.path + pathKeys + "/rotate", ambient: true, methods: post(guard(p.api.RotateKeys))},
		{path: p.path + pathKeys + "/{kid}", ambient: true, methods: map[string]handlerFunc{"DELETE": guard(p.api.RetireKey)}},
	}
}

func get(h handlerFunc) map[string]handlerFunc  { return map[string]handlerFunc{"GET": h} }
func post(h handlerFunc) map[string]handlerFunc { return map[string]handlerFunc{"POST": h} }

// Handler serves the tailnet: all endpoints and pages. Its http.Server must
// have [Provider.ConnContext], or the requests a peer by [WithPeer].
func (p *Provider) Handler() http.Handler {
	return p.handler(append(p.publicRoutes(), p.tailnetRoutes()...))
}

// PublicHandler serves listeners where nobody is known, such as Funnel or a
// loopback port: what clients call, no page and no administration.
func (p *Provider) PublicHandler() http.Handler {
	return p.handler(append(p.publicRoutes(), p.elsewhereRoutes()...))
}

// AdminHandler serves the administration on a unix socket, to everybody who
// can connect to it: keep its directory private. It refuses connections of
// any other sort.
func (p *Provider) AdminHandler() http.Handler {
	routes := p.apiRoutes(requireUnixSocket)
	for i := range routes {
		routes[i].ambient = false // no browser reaches a unix socket
	}
	routes = append(routes, route{path: p.path + pathMetrics, methods: get(requireUnixSocket(p.serveMetrics))})
	return p.handler(append(routes, p.healthRoutes()...))
}

// handler makes a handler of routes, with what surrounds every request.
func (p *Provider) handler(routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.Handle(rt.path, p.counted(rt.path, p.serveRoute(rt)))
	}
	mux.Handle("/", p.counted("", p.serveRoute(route{methods: map[string]handlerFunc{"": serveNotFound}})))
	return p.surround(mux)
}

// serveRoute picks the handler of the method and answers errors in the form
// of the route.
func (p *Provider) serveRoute(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rt.cors {
			maps.Copy(w.Header(), openHeaders)
			if isPreflight(r) {
				servePreflight(w, r, rt.methods)
				return
			}
		}
		err := p.callRoute(rt, w, r)
		if err == nil {
			return
		}
		if _, isPage := err.(*pageError); isPage || rt.page && !wantsJSON(r) {
			p.writeErrorPage(w, r, err)
			return
		}
		p.writeError(w, r, err)
	})
}

func (p *Provider) callRoute(rt route, w http.ResponseWriter, r *http.Request) error {
	if rt.ambient && !p.ownHost(r.Host) {
		return fail(codeMisdirected, "this server is not %q; use %s", r.Host, p.issuer)
	}
	h, ok := rt.methods[""]
	if !ok {
		h, ok = rt.methods[strings.Replace(r.Method, "HEAD", "GET", 1)]
	}
	if !ok {
		w.Header().Set("Allow", allowed(rt.methods))
		return fail(codeMethodNotAllowed, "this endpoint takes %s", allowed(rt.methods))
	}
	if !rt.early && p.keys.Load() == nil {
		return fail(codeUnavailable, "the identity provider is starting; try again").because(errors.New("Run has not opened the store yet"))
	}
	return h(w, r)
}

func allowed(methods map[string]handlerFunc) string {
	var names []string
	for m := range methods {
		names = append(names, m)
		if m == "GET" {
			names = append(names, "HEAD")
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func serveNotFound(http.ResponseWriter, *http.Request) error {
	return fail(codeNotFound, "there is nothing at this path")
}

// wantsJSON: a program that says so gets JSON even from a page.
func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json") && !acceptsHTML(r)
}

// withWayBack gives the pages of errors a link to the start page, except where
// that has nothing else to say.
func (p *Provider) withWayBack(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r)
		if err == nil || wantsJSON(r) {
			return err
		}
		if e := asProtocolError(err); e.refusal == nil || e.refusal.reason != reasonUnknownPeer {
			return &pageError{protocolError: e, back: link{URL: template.URL(p.path + "/")}}
		}
		return err
	}
}

// serveHome is the start page of administrators, and everybody else's own.
func (p *Provider) serveHome(w http.ResponseWriter, r *http.Request) error {
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	if _, no := decide(question{action: actAdminister, who: who}); no != nil {
		return p.ui.Me(w, r)
	}
	return p.ui.Start(w, r)
}
