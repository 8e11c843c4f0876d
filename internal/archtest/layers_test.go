package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "keepdav"

// below says what each layer may import of this module, besides itself.
var below = map[string][]string{
	"keepio":   {},
	"collfs":   {"keepio"},
	"davfs":    {"collfs", "keepio"},
	"web":      {"davfs", "collfs", "keepio"},
	"cmd":      {"web", "davfs", "collfs", "keepio"},
	"internal": {},
	// Measuring and testing from outside may use anything.
	"bench": {"cmd", "web", "davfs", "collfs", "keepio", "test", "internal"},
	"test":  {"cmd", "web", "davfs", "collfs", "keepio", "bench", "internal"},
}

// chosen are implementations that only the command picks.
var chosen = []string{"keepio/dirstore", "keepio/blockcache", "collfs/sqlite"}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		if ee, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

// within is the path of a package in the module, "" when it is of another one.
func within(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return rest
}

func layer(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

func isTest(p string) bool {
	return strings.HasSuffix(path.Base(p), "test") && layer(p) != "test" || slices.Contains(strings.Split(p, "/"), "test")
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := within(p.ImportPath)
		may, known := below[layer(from)]
		if !known {
			t.Errorf("%s is in no known layer: say in this test what it may import", from)
			continue
		}
		for _, imp := range p.Imports {
			to := within(imp)
			switch {
			case to == "" || layer(to) == layer(from) || slices.Contains(may, layer(to)):
			default:
				t.Errorf("%s imports %s: %s may import %v only", from, to, layer(from), may)
			}
		}
	}
}

func TestOnlyTheCommandPicksImplementations(t *testing.T) {
	for _, p := range packages(t) {
		from := within(p.ImportPath)
		if l := layer(from); l == "cmd" || l == "bench" || l == "test" {
			continue
		}
		for _, imp := range p.Imports {
			to := within(imp)
			if slices.ContainsFunc(chosen, func(c string) bool {
				return (to == c || strings.HasPrefix(to, c+"/")) && from != c && !strings.HasPrefix(from, c+"/")
			}) {
				t.Errorf("%s imports %s, which only a command should choose", from, to)
			}
		}
	}
}

// What two commands need lies in cmd/internal, which knows neither.
func TestCommandsDoNotKnowEachOther(t *testing.T) {
	command := func(p string) string {
		if rest, ok := strings.CutPrefix(p, "cmd/"); ok {
			return layer(rest)
		}
		return ""
	}
	for _, p := range packages(t) {
		from := within(p.ImportPath)
		if layer(from) != "cmd" {
			continue
		}
		for _, imp := range p.Imports {
			if c := command(within(imp)); c != "" && c != "internal" && c != command(from) {
				t.Errorf("%s imports %s", from, within(imp))
			}
		}
	}
}

func TestOnlyTestsImportTestPackages(t *testing.T) {
	for _, p := range packages(t) {
		from := within(p.ImportPath)
		if isTest(from) {
			continue
		}
		for _, imp := range p.Imports {
			if to := within(imp); to != "" && isTest(to) {
				t.Errorf("%s imports %s", from, to)
			}
		}
	}
}

// clients speak HTTP to others; what is above them does not know.
var clients = []string{"keepio/keepclient", "collfs/apiserver"}

func TestHTTPStaysInWebAndClients(t *testing.T) {
	for _, p := range packages(t) {
		from := within(p.ImportPath)
		if slices.ContainsFunc(clients, func(c string) bool { return from == c || strings.HasPrefix(from, c+"/") }) {
			continue
		}
		if l := layer(from); (l == "keepio" || l == "collfs") && !isTest(from) {
			if slices.Contains(p.Imports, "net/http") {
				t.Errorf("%s imports net/http", from)
			}
		}
	}
}
