// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

// The page on which a person decides about a device (RFC 8628 section 3.3):
//
//	GET /device                 asks for the code that the device shows
//	GET /device?user_code=…     asks for the decision, or tells which it was
//	POST /device                takes it, and leads back to the line above
//
// "It is RECOMMENDED to inform the user that they are authorizing a device ...
// and to confirm that the device is in their possession" (section 5.4): whoever
// sends somebody a link with a code must not get their login. So the page
// shows where the request comes from, and the link alone decides nothing.

const (
	// maxCodeTries is how many wrong codes a person may type within
	// codeTryWindow.
	maxCodeTries  = 5
	codeTryWindow = 10 * time.Minute
)

// devicePage is the data of pages/device.html. It is a form for the code
// unless it has a question or a result.
type devicePage struct {
	Title   string
	Action  string // of the forms
	Problem string // with the code that was typed
	Typed   string
	// Question asks for the decision.
	Question *deviceQuestion
	// Result tells what was decided.
	Result string
}

// A deviceQuestion is what the person sees before they decide.
type deviceQuestion struct {
	Code      string
	Client    string
	ClientURI string
	// Provenance says where a client comes from that has chosen its name itself.
	Provenance string
	Who, Node  string // of the person
	Asker      asker
	Others     bool // the asking node is another person's
	Scopes     []string
	Resources  []string
	Stays      bool // it can refresh its tokens
	Proof      string
}

// serveDevice shows the page.
func (p *Provider) serveDevice(w http.ResponseWriter, r *http.Request) error {
	f, err := newForm(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if p.fromForeignPage(r) {
		return fail(codeAccessDenied, "a web page of another origin may not use this page")
	}
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	typed := f.get("user_code")
	if typed == "" {
		return p.renderDevice(w, http.StatusOK, devicePage{Title: "Connect a device"})
	}
	code, ok := parseUserCode(typed)
	if !ok {
		return p.askAgain(w, typed, "That is no code of ours: they have eight letters, no digits and no vowels.")
	}
	d, err := p.findDevice(r.Context(), &who, code)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p.askAgain(w, typed, "No device is waiting with this code. Compare it with what the device shows.")
	case err != nil:
		return err
	case d.expired(p.now()):
		return p.askAgain(w, "", "This code has expired. Start again on the device, and type the new one.")
	}
	return p.showDevice(w, r, d, &who, code)
}

// findDevice looks a code up, which costs a try if it is wrong. The try is
// taken first: many guesses at once are as many tries.
func (p *Provider) findDevice(ctx context.Context, who *identity, code string) (*deviceRequest, error) {
	key, now := who.subject(), p.now()
	if wait, ok := p.codeTries.take(key, now); !ok {
		return nil, tooMany(wait, "These were %d wrong codes. Wait a few minutes, then start again on the device.", maxCodeTries)
	}
	d, err := p.storage.deviceByUserCode(ctx, code)
	if errors.Is(err, store.ErrNotFound) {
		p.audit(ctx, "wrong user code", AuditEvent{Event: eventDevice, Result: resultRefused, Reason: "wrong_user_code"})
		return nil, err
	}
	p.codeTries.giveBack(key, now)
	if err != nil {
		return nil, storeError(err)
	}
	return d, nil
}

// showDevice asks for the decision, or tells which it was.
func (p *Provider) showDevice(w http.ResponseWriter, r *http.Request, d *deviceRequest, who *identity, code string) error {
	if d.state != devicePending {
		return p.renderDevice(w, http.StatusOK, d.resultFor(who))
	}
	c, err := p.deviceClient(r.Context(), d)
	if err != nil {
		return err
	}
	may, err := p.mayApprove(d, c, who)
	if err != nil {
		return err
	}
	q := &deviceQuestion{
		Code: showUserCode(code), Client: c.displayName(), ClientURI: c.ClientURI, Who: who.principal(), Node: who.label(),
		Asker: d.asker, Others: !d.asker.Tagged && d.asker.Subject != who.subject(),
		Resources: may.resources, Stays: c.allowsGrantType(grantRefreshToken),
	}
	for _, s := range may.scopes {
		q.Scopes = append(q.Scopes, scopeInWords(s))
	}
	if !c.trusted() {
		q.Provenance = c.provenance()
	}
	if q.Proof, err = p.sealProof(proof{Path: pathDevice, Device: d.record.ID, UserCode: code, Shown: shownDevice(d, c, may)}, who); err != nil {
		return err
	}
	return p.renderDevice(w, http.StatusOK, devicePage{Title: "Connect a device to " + c.displayName() + "?", Question: q})
}

// resultFor tells who decided what, to that person; others learn only that
// the code is used up.
func (d *deviceRequest) resultFor(who *identity) devicePage {
	switch {
	case d.subject != who.subject():
		return devicePage{Title: "This code has been used", Result: "Somebody has decided about this code already. A code can be used once; start again on the device for a new one."}
	case d.state == deviceApproved:
		return devicePage{Title: "Approved", Result: "You have approved this request, which can be done once. The device goes on by itself within a few seconds. You can close this page."}
	}
	return devicePage{Title: "Denied", Result: "You have denied this request, for good. The device gets nothing. You can close this page."}
}

// deviceClient loads the client of a request, which may be gone by now.
func (p *Provider) deviceClient(ctx context.Context, d *deviceRequest) (*client, error) {
	c, err := p.clientByID(ctx, d.clientID)
	if err != nil {
		e := fail(codeInvalidClient, "The application that asked is no longer registered here.")
		e.answer = http.StatusBadRequest
		return nil, notFoundOr(err, e)
	}
	return c, nil
}

// mayApprove asks whether who may approve, for which resources and scopes.
func (p *Provider) mayApprove(d *deviceRequest, c *client, who *identity) (decision, error) {
	dec, no := p.decide(question{action: actAuthorize, who: *who, client: c, resources: d.resources, scopes: d.scopes, issuer: p.issuer})
	switch {
	case no != nil:
		return decision{}, no.err()
	case len(dec.scopes) == 0:
		return decision{}, errNoScope()
	}
	return dec, nil
}

// serveDeviceDecision takes a decision.
func (p *Provider) serveDeviceDecision(w http.ResponseWriter, r *http.Request) error {
	if p.fromForeignPage(r) {
		return fail(codeAccessDenied, "a web page of another origin may not decide for you")
	}
	f, err := parseForm(r)
	if err != nil {
		return err
	}
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	proof, err := p.openDeviceProof(r.Context(), f.get("proof"), &who)
	if err != nil {
		return err
	}
	switch f.get("decision") {
	case "approve":
		if err = p.approveDevice(r.Context(), proof, &who); err == nil {
			p.metrics.logins.inc(loginDevice)
		}
	case "deny":
		err = p.storage.decideDevice(r.Context(), proof.Device, &who, func(d *deviceRequest) error {
			d.state = deviceDenied
			return nil
		})
	default:
		err = fail(codeInvalidRequest, "decision must be approve or deny")
	}
	if err != nil {
		return err
	}
	// RFC 9110 section 15.4.4: a reload must not post again.
	w.Header().Set("Location", p.path+pathDevice+"?user_code="+showUserCode(proof.UserCode))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// approveDevice gives the request to the person, if it still is what the page
// has shown.
func (p *Provider) approveDevice(ctx context.Context, pr *proof, who *identity) error {
	return p.storage.decideDevice(ctx, pr.Device, who, func(d *deviceRequest) error {
		c, err := p.deviceClient(ctx, d)
		if err != nil {
			return err
		}
		may, err := p.mayApprove(d, c, who)
		if err != nil {
			return err
		}
		if shownDevice(d, c, may) != pr.Shown {
			return fail(codeInvalidRequest, "The application, or what it may have, has changed meanwhile. Type the code of the device again, and look once more.")
		}
		d.state, d.resources, d.scopes = deviceApproved, may.resources, may.scopes
		return nil
	})
}

// shownDevice names all that the page is about: the approval counts only for
// that.
func shownDevice(d *deviceRequest, c *client, may decision) string {
	return digest(d.record.ID, c.fingerprint(), strings.Join(may.scopes, " "), strings.Join(may.resources, " "))
}

// openDeviceProof reads the proof of a form that who sends.
func (p *Provider) openDeviceProof(ctx context.Context, sealed string, who *identity) (*proof, error) {
	pr, err := p.openProof(ctx, pathDevice, sealed)
	if err == nil && !p.isCurrent(pr, who) {
		err = errors.New("proof of somebody else, or too old")
	}
	if err != nil {
		return nil, fail(codeInvalidRequest, "This form is not yours, or too old. Type the code of the device again.").because(err)
	}
	return pr, nil
}

func (p *Provider) askAgain(w http.ResponseWriter, typed, problem string) error {
	return p.renderDevice(w, http.StatusBadRequest, devicePage{Title: "Connect a device", Typed: typed, Problem: problem})
}

func (p *Provider) renderDevice(w http.ResponseWriter, status int, page devicePage) error {
	page.Action = p.path + pathDevice
	return p.pages.renderForm(w, status, "device.html", page)
}
