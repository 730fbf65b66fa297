package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/usher-seats/usher/wire"
)

// An apiKey is a key as the admin listener shows it.
type apiKey struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Key  string `json:"key,omitempty"`
}

func (a *adminCall) keys(ctx context.Context) error {
	var list struct {
		Keys []apiKey `json:"keys"`
	}
	answer, err := a.ask(ctx, http.MethodGet, "/admin/keys", nil, &list)
	if err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tROLE")
		for _, k := range list.Keys {
			fmt.Fprintf(w, "%s\t%s\n", k.Name, k.Role)
		}
	})
}

func (a *adminCall) addKey(ctx context.Context) error {
	if _, ok := wire.ParseRole(a.args[1]); !ok {
		return usageError{fmt.Sprintf("there is no role %q: want read, sell or operate", a.args[1])}
	}
	var made apiKey
	answer, err := a.ask(ctx, http.MethodPost, "/admin/keys", apiKey{Name: a.args[0], Role: a.args[1]}, &made)
	if err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) { fmt.Fprintln(w, made.Key) })
}

func (a *adminCall) dropKey(ctx context.Context) error {
	_, err := a.ask(ctx, http.MethodDelete, "/admin/keys/"+url.PathEscape(a.args[0]), nil, nil)
	return err
}

// signingList is how the admin listener lists signing keys, the one that signs
// first.
type signingList struct {
	Keys []struct {
		ID    uint32 `json:"id"`
		Since string `json:"since"`
	} `json:"keys"`
}

func (a *adminCall) signingKeys(ctx context.Context) error {
	return a.showSigning(ctx, http.MethodGet, change{path: "/admin/signing-keys"})
}

func (a *adminCall) rotateSigningKey(ctx context.Context) error {
	return a.showSigning(ctx, http.MethodPost, change{path: "/admin/signing-keys", once: rand.Text()})
}

func (a *adminCall) showSigning(ctx context.Context, method string, c change) error {
	var list signingList
	answer, err := a.askOnce(ctx, method, c, &list)
	if err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tSINCE\t")
		for i, k := range list.Keys {
			use := "signs"
			if i > 0 {
				use = "what it has signed is good"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\n", k.ID, orDash(k.Since), use)
		}
	})
}

// audit shows who changed what.
func (a *adminCall) audit(ctx context.Context) error {
	var list struct {
		Changes []struct {
			Version uint64 `json:"version"`
			At      string `json:"at"`
			By      string `json:"by"`
			What    string `json:"what"`
		} `json:"changes"`
	}
	answer, err := a.ask(ctx, http.MethodGet, "/admin/audit", nil, &list)
	if err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) {
		fmt.Fprintln(w, "VERSION\tAT\tBY\tWHAT")
		for _, c := range list.Changes {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", c.Version, orDash(c.At), orDash(c.By), c.What)
		}
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
