package keepclient

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The measured orders of 16 services, for four blocks.
func TestProbeOrderMatchesMeasuredVectors(t *testing.T) {
	var list []*server
	for i := range 16 {
		list = append(list, &server{service: service{uuid: fmt.Sprintf("zzzzz-bi6l4-%015x", i)}})
	}
	for n, want := range []string{"3eab2d5fc9681074", "097dba52e648f1c3", "c5b4e023f8a7d691", "9d81c02e76a3bf54"} {
		hash := fmt.Sprintf("%x", md5.Sum(fmt.Appendf(nil, "%064x", n)))
		var got strings.Builder
		for _, s := range probeOrder(hash, list) {
			got.WriteString(s.uuid[len(s.uuid)-1:])
		}
		if got.String() != want {
			t.Errorf("probe order of block %d = %s; want %s", n, got.String(), want)
		}
	}
}

func TestProbeOrderTakesTheLast15CharactersOfAnyUUID(t *testing.T) {
	list := []*server{{service: service{uuid: "x"}}, {service: service{uuid: ""}}, {service: service{uuid: "zzzzz-bi6l4-0000000000000001"}}, {service: service{uuid: "yyyyy-bi6l4-000000000000001"}}}
	got := probeOrder(strings.Repeat("0", 32), list)
	at := func(s *server) int { return slices.Index(got, s) }
	if len(got) != 4 || at(list[2]) > at(list[3]) || at(list[3])-at(list[2]) != 1 {
		t.Errorf("services with the same last 15 characters are not neighbours in their given order")
	}
}

func TestGivenServicesAreProxiesWithInventedUUIDs(t *testing.T) {
	urls, err := ParseServices(" http://keep0:25107/  https://[::1]:443 http://keep0:25107 ")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := givenServices(urls)
	want := []service{
		{uuid: "00000-bi6l4-000000000000000", base: "http://keep0:25107", proxy: true},
		{uuid: "00000-bi6l4-000000000000001", base: "https://[::1]:443", proxy: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("givenServices = %+v; want %+v", got, want)
	}
	for _, bad := range []string{"keep0:25107", "ftp://keep0", "http://", "//keep0", "http://user:secret@keep0", "http://keep0/?x=1", "http://[::1"} {
		if _, err := ParseServices(bad); err == nil {
			t.Errorf("ParseServices(%q) succeeded", bad)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseServices(%q) shows a password: %v", bad, err)
		}
	}
}

func TestListOfServicesIsReadWithCare(t *testing.T) {
	item := func(uuid, host string, port int, more string) string {
		return fmt.Sprintf(`{"uuid":%q,"service_host":%q,"service_port":%d%s}`, uuid, host, port, more)
	}
	body := `{"items":[` + strings.Join([]string{
		item("a", "keep0", 25107, `,"service_type":"disk","service_ssl_flag":false,"read_only":false`),
		item("b", "keep1", 443, `,"service_type":"disk","service_ssl_flag":true,"read_only":true`),
		item("c", "::1", 80, `,"service_type":"proxy"`),
		item("d", "[::2]", 80, `,"service_type":"blob"`),
		item("e", "keep0", 25107, ""), // again
		item("f", "", 80, ""), item("g", "keep", 0, ""), item("h", "keep", 65536, ""), item("i", "a/b", 80, ""), item("j", "a@b", 80, ""), item("k", "a b", 80, ""),
	}, ",") + `]}`
	got, err := parseServices([]byte(body))
	want := []service{
		{uuid: "a", base: "http://keep0:25107", disk: true},
		{uuid: "b", base: "https://keep1:443", disk: true, readOnly: true},
		{uuid: "c", base: "http://[::1]:80", proxy: true},
		{uuid: "d", base: "http://[::2]:80"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("parseServices = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "[]", `{"items":[]}`, `{"items":[{}]}`, `{"items":{}}`} {
		if _, err := parseServices([]byte(bad)); err == nil {
			t.Errorf("parseServices(%s) succeeded", bad)
		}
	}
}

// exchange is a recorded request and its reply.
type exchange struct {
	Note    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         any
	}
	Response struct {
		Status  int
		Headers [][2]string
		Body    any
	}
}

func recorded(t *testing.T, name string) []exchange {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../testdata/arvados", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// note returns the exchange with that note.
func note(t *testing.T, all []exchange, note string) exchange {
	t.Helper()
	for _, x := range all {
		if strings.HasPrefix(x.Note, note) {
			return x
		}
	}
	t.Fatalf("there is no recording %q", note)
	return exchange{}
}

func body(t *testing.T, x exchange) []byte {
	t.Helper()
	text, err := json.Marshal(x.Response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRecordedAPIRepliesAreUnderstood(t *testing.T) {
	all := recorded(t, "api-session.json")
	inside, err := parseServices(body(t, note(t, all, "keep services")))
	want := []service{
		{uuid: "zzzzz-bi6l4-d9893442e93ac176", base: "http://127.0.0.1:29013", disk: true},
		{uuid: "zzzzz-bi6l4-06a450d42475a14a", base: "http://127.0.0.1:29014", disk: true},
	}
	if err != nil || !slices.Equal(inside, want) {
		t.Errorf("services inside = %+v, %v; want %+v", inside, err, want)
	}
	outside, err := parseServices(body(t, note(t, all, "keep services, external")))
	want = []service{{uuid: "zzzzz-bi6l4-190e57da1cc5fdab", base: "http://127.0.0.1:29015", proxy: true}}
	if err != nil || !slices.Equal(outside, want) {
		t.Errorf("services outside = %+v, %v; want %+v", outside, err, want)
	}
	var set settings
	if err := set.readDiscovery(body(t, note(t, all, "discovery"))); err != nil || set.replicas != 1 || set.ttl != defaultTTL {
		t.Errorf("discovery document = %+v, %v", set, err)
	}
	if err := set.readConfig(body(t, note(t, all, "public config"))); err != nil || !slices.Equal(set.classes, []string{"default"}) {
		t.Errorf("configuration = %+v, %v", set, err)
	}
}

func FuzzParseServices(f *testing.F) {
	f.Add(`{"items":[{"uuid":"a","service_host":"::1","service_port":80,"service_ssl_flag":true,"service_type":"disk"}]}`)
	f.Add(`{"items":null}`)
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseServices([]byte(s))
		if err == nil && len(list) == 0 {
			t.Error("no services and no error")
		}
		for _, svc := range list {
			if got, err := givenServices([]string{svc.base}); err != nil || len(got) != 1 || got[0].base != svc.base {
				t.Errorf("base URL %q is not one: %v", svc.base, err)
			}
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add(`{"defaultCollectionReplication":2,"blobSignatureTtl":1209600,"StorageClasses":{"a":{"Default":true}}}`)
	f.Fuzz(func(t *testing.T, s string) {
		set := settings{replicas: defaultReplicas, ttl: defaultTTL}
		if set.readDiscovery([]byte(s)) == nil && (set.replicas < 1 || set.ttl < 0) {
			t.Errorf("settings of %s = %+v", s, set)
		}
		if set.readConfig([]byte(s)) == nil && slices.ContainsFunc(set.classes, func(c string) bool { return !validClass(c) }) {
			t.Errorf("classes of %s = %q", s, set.classes)
		}
	})
}
