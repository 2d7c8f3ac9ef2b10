// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tailscale.com/tailcfg"
)

// Pages that ask the person before a request goes on. The request that they
// interrupted stands in the form as it came; beside it stands a proof, sealed,
// that this person was shown this page for this request on this node. So
// nothing is stored, nobody can press the button for somebody else, and a
// page of another site cannot press it at all.

// purposeInteraction is the purpose of sealed proofs.
const purposeInteraction = "interaction"

// interactionLifetime is how long a page may stay open.
const interactionLifetime = 10 * time.Minute

// A proof says who was asked what, and when.
type proof struct {
	Path    string               `json:"path"` // of the endpoint that asked
	Query   [32]byte             `json:"query"`
	Subject string               `json:"sub"`
	Node    tailcfg.StableNodeID `json:"node"`
	At      int64                `json:"at"` // Unix seconds
	// Shown is what else the page was about; see shown.
	Shown string `json:"shown,omitempty"`
	// Of a device: its record, and the code that the person typed.
	Device   string `json:"device,omitempty"`
	UserCode string `json:"user_code,omitempty"`
}

// An interactionPage is the data of pages/interact.html.
type interactionPage struct {
	Title   string
	Message []string // paragraphs
	Facts   []fact
	Links   []fact   // values are URLs
	Wants   []string // what the application would be able to do
	Warning string
	Who     string // the person
	Node    string // the device
	Switch  bool   // say how to be somebody else
	SwitchURL,
	Action string // where the form goes
	Query, Proof string
	Shown        string
	Yes, No      string // labels of the buttons; No may be empty
}

type fact struct{ Name, Value string }

// ask shows a page of the endpoint at path, which interrupts f.
func (p *Provider) ask(w http.ResponseWriter, path string, f *form, who *identity, page interactionPage) error {
	page.Query = f.values.Encode()
	var err error
	page.Proof, err = p.sealProof(proof{Path: path, Query: sha256.Sum256([]byte(page.Query)), Shown: page.Shown}, who)
	if err != nil {
		return err
	}
	page.Action = p.path + path + pathContinue
	page.Who, page.Node = who.principal(), who.label()
	if p.cfg.Development {
		page.SwitchURL = p.path + pathDevelopment
	}
	return p.pages.renderForm(w, http.StatusOK, "interact.html", page)
}

// sealProof seals pr for the person who is shown the page now.
func (p *Provider) sealProof(pr proof, who *identity) (string, error) {
	pr.Subject, pr.Node, pr.At = who.subject(), who.node, p.now().Unix()
	b, err := json.Marshal(pr)
	if err != nil {
		return "", fmt.Errorf("sealing interaction: %w", err)
	}
	return p.keys.Load().sealer.Seal(purposeInteraction, b), nil
}

// openProof opens what sealProof made for a page of the endpoint at path.
func (p *Provider) openProof(ctx context.Context, path, sealed string) (*proof, error) {
	b, err := p.unseal(ctx, purposeInteraction, sealed)
	if err != nil {
		return nil, err
	}
	var pr proof
	if err := json.Unmarshal(b, &pr); err != nil {
		return nil, err
	}
	if pr.Path != path {
		return nil, errors.New("proof of another page")
	}
	return &pr, nil
}

// isCurrent reports whether the page was shown to who, and not too long ago.
func (p *Provider) isCurrent(pr *proof, who *identity) bool {
	age := p.now().Sub(time.Unix(pr.At, 0))
	return pr.Subject == who.subject() && pr.Node == who.node && age >= -clockSkew && age < interactionLifetime
}

// A choice is what came of a page.
type choice struct {
	form    *form // the interrupted request
	yes     bool
	current bool // given by who is there now, in time
	shown   string
}

// readChoice reads the form of a page that the endpoint at path showed. An
// answer that came too late, or from somebody else, is not current: the
// question stands, and is for who is there now.
func (p *Provider) readChoice(r *http.Request, path string, who *identity) (*choice, error) {
	if p.fromForeignPage(r) {
		return nil, fail(codeAccessDenied, "a web page of another origin may not answer for you")
	}
	posted, err := parseForm(r)
	if err != nil {
		return nil, err
	}
	query := posted.get("query")
	pr, err := p.openProof(r.Context(), path, posted.get("proof"))
	if err == nil && pr.Query != sha256.Sum256([]byte(query)) {
		err = errors.New("proof of another request")
	}
	if err != nil {
		return nil, fail(codeInvalidRequest, "This form is not one of ours, or is very old. Go back to the application and start again.").because(err)
	}
	a := &choice{yes: posted.get("answer") == "yes", shown: pr.Shown, current: p.isCurrent(pr, who)}
	a.form, err = newForm(query)
	return a, err
}

// mustConfirm reports whether the person has to confirm this login: because
// the client asks for it, because it is too long ago, or because they have
// signed out.
func (a *authorizeRequest) mustConfirm(now time.Time) (bool, error) {
	// "Specifies the allowable elapsed time in seconds since the last time the
	// End-User was actively authenticated by the OP" (OpenID Connect Core
	// section 3.1.2.1).
	tooOld := false
	if s := a.form.get("max_age"); s != "" {
		limit, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return false, fail(codeInvalidRequest, "max_age must be a number of seconds")
		}
		age := now.Unix() - a.session.AuthTime
		tooOld = limit == 0 || age > int64(limit)
	}
	if a.confirmed {
		return false, nil
	}
	return tooOld || a.prompts("login") || a.prompts("select_account") || a.session.signedOut(a.client.ID), nil
}

// interact asks the person what the request needs from them. It reports
// whether a page has been shown, which ends the request.
func (p *Provider) interact(w http.ResponseWriter, r *http.Request, a *authorizeRequest, c *codeRequest) (asked bool, err error) {
	login, err := a.mustConfirm(p.now())
	if err != nil {
		return false, err
	}
	// One page serves both: to agree is to confirm.
	if a.confirmed && a.agreedTo == shown(a, c) {
		return false, p.rememberConsent(r.Context(), a, c)
	}
	consent, err := p.needsConsent(r.Context(), a, c)
	switch silent := a.prompts("none"); {
	case err != nil:
		return false, err
	case login && silent:
		return false, fail(codeLoginRequired, "the person must confirm the login, which prompt none forbids")
	case consent && silent:
		return false, fail(codeConsentRequired, "the person has not agreed to this yet, and prompt none forbids to ask")
	case consent:
		return true, p.askConsent(w, a, c)
	case login:
		return true, p.askLogin(w, a)
	}
	return false, nil
}

// askLogin shows the page "continue as … on …".
func (p *Provider) askLogin(w http.ResponseWriter, a *authorizeRequest) error {
	page := interactionPage{
		Title:  "Log in to " + a.client.displayName(),
		Switch: true, Yes: "Continue as " + a.who.principal(), No: "Cancel",
	}
	if a.session.signedOut(a.client.ID) {
		page.Message = append(page.Message, "You have signed out here.")
	}
	page.Message = append(page.Message, fmt.Sprintf("%s asks you to confirm who is logging in.", a.client.displayName()))
	return p.ask(w, pathAuthorize, a.form, &a.who, page)
}

// serveAuthorizeContinue takes the answer to a page of /authorize.
func (p *Provider) serveAuthorizeContinue(w http.ResponseWriter, r *http.Request) error {
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	ans, err := p.readChoice(r, pathAuthorize, &who)
	if err != nil {
		return err
	}
	return p.runAuthorize(w, r, &authorizeRequest{
		form: ans.form, who: who, confirmed: ans.yes && ans.current, denied: !ans.yes, agreedTo: ans.shown,
	})
}
