package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A busClient is a client of the event bus.
type busClient struct {
	t    *testing.T
	conn *websocket.Conn
}

func dialBus(t *testing.T, r *rig, token, subscribe string) busClient {
	t.Helper()
	doc := apiCall(t, r, token, "GET", "/discovery/v1/apis/arvados/v1/rest", "")
	conn, res, err := websocket.Dial(t.Context(), doc["websocketUrl"].(string)+"?api_token="+token, nil)
	if err != nil {
		t.Fatal(err, res)
	}
	t.Cleanup(func() { conn.CloseNow() })
	c := busClient{t, conn}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(subscribe)); err != nil {
		t.Fatal(err)
	}
	if got := c.read(); got["status"] != 200.0 {
		t.Fatal(got)
	}
	return c
}

func (c busClient) read() (event map[string]any) {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer stop()
	_, text, err := c.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &event)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return event
}

// until reads events until one is of a type and about an object.
func (c busClient) until(kind, object string) map[string]any {
	c.t.Helper()
	for {
		if e := c.read(); e["event_type"] == kind && e["object_uuid"] == object {
			return e
		}
	}
}

func attributes(e map[string]any, which string) map[string]any {
	p, _ := e["properties"].(map[string]any)
	a, _ := p[which+"_attributes"].(map[string]any)
	return a
}

// What drives and the API do, clients of the bus are told, and the log has it under
// the same number.
func TestClientsAreToldOfWhatHappensInTheStore(t *testing.T) {
	r := newRig(t)
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	plain := dialBus(t, r, token, `{"method":"subscribe","filters":[["event_type","in",["create","update","delete"]]]}`)
	fast := dialBus(t, r, token, `{"method":"subscribe","keepdav":true}`)
	id := apiCall(t, r, token, "POST", "/arvados/v1/collections", `{"collection":{"name":"c"}}`)["uuid"].(string)
	plain.until("create", id)
	fast.until("create", id)
	r.must(t, http.StatusCreated, "PUT", "/home/c/f", "data")
	e := plain.until("update", id)
	rec := apiCall(t, r, token, "GET", "/arvados/v1/collections/"+id, "")
	if a := attributes(e, "new"); a["portable_data_hash"] != rec["portable_data_hash"] || a["name"] != "c" || a["owner_uuid"] != rec["owner_uuid"] || a["is_trashed"] != false {
		t.Errorf("told of %v; want %v", a, rec["portable_data_hash"])
	}
	if e := fast.until("update", id); attributes(e, "new")["portable_data_hash"] != nil {
		t.Errorf("a keepdav client is told %v", e)
	}
	apiCall(t, r, token, "PATCH", "/arvados/v1/collections/"+id, `{"collection":{"name":"d"}}`)
	e = plain.until("update", id)
	if attributes(e, "old")["name"] != "c" || attributes(e, "new")["name"] != "d" || attributes(e, "old")["portable_data_hash"] != rec["portable_data_hash"] {
		t.Errorf("renamed: %v", e)
	}
	log := apiCall(t, r, token, "GET", fmt.Sprintf("/arvados/v1/logs/%s", e["uuid"]), "")
	if log["id"] != e["id"] || log["object_uuid"] != id || log["event_type"] != "update" {
		t.Errorf("the log has %v; want event %v", log, e["id"])
	}
	// Who comes back hears what was missed.
	r.must(t, http.StatusNoContent, "DELETE", "/home/d", "")
	again := dialBus(t, r, token, fmt.Sprintf(`{"method":"subscribe","last_log_id":%v}`, int64(e["id"].(float64))))
	if e := again.until("update", id); attributes(e, "new")["is_trashed"] != true {
		t.Errorf("missed: %v", e)
	}
}

// A change is told within ten milliseconds, if the machine has nothing else to do.
func TestEventsComeAtOnceToWhoHasAToken(t *testing.T) {
	r := newRig(t)
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	for query, want := range map[string]int{
		"":                           http.StatusUnauthorized,
		"?api_token=v2/x/y":          http.StatusUnauthorized,
		"?api_token=correct+horse":   http.StatusUnauthorized,
		"?api_token=" + token:        http.StatusUpgradeRequired, // it is no websocket
		"/more?api_token=" + "other": http.StatusNotFound,        // of the site, for who asks with a password
	} {
		if status, _ := r.do(t, "GET", "/websocket"+query, ""); status != want {
			t.Errorf("GET /websocket%s = %d; want %d", strings.ReplaceAll(query, token, "…"), status, want)
		}
	}
	id := apiCall(t, r, token, "POST", "/arvados/v1/collections", `{"collection":{"name":"c"}}`)["uuid"].(string)
	c := dialBus(t, r, token, `{"method":"subscribe","keepdav":true}`)
	var took []time.Duration
	for i := range 20 {
		r.must(t, http.StatusCreated, "PUT", fmt.Sprintf("/home/c/f%d", i), "data")
		start := time.Now() // the commit was before
		c.until("update", id)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("median %v, longest %v", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 50*time.Millisecond { // with the race detector on a busy machine
		t.Errorf("half of the events took more than %v", took[len(took)/2])
	}
}

func TestAServerThatStopsSaysGoodbyeToClientsOfTheBus(t *testing.T) {
	r := newRigStopped(t)
	stop := r.serve(t)
	token := do1[tokenInfo](t, r, "token.create", tokenArgs{User: adminName}).Token
	c := dialBus(t, r, token, `{"method":"subscribe"}`)
	closed := make(chan websocket.StatusCode, 1)
	go func() {
		_, _, err := c.conn.Read(context.Background())
		closed <- websocket.CloseStatus(err)
	}()
	stop()
	if code := <-closed; code != websocket.StatusGoingAway {
		t.Errorf("closed with %v", code)
	}
}
