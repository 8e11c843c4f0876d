package cluster

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// An arvados is a client of Arvados that knows nothing of others: it reads the manifest of
// a collection, changes it, and replaces all by that. The last who writes wins.
type arvados struct {
	url, token string
	client     *http.Client
	uuid, name string // of the only collection that it changes
}

func (s *server) arvados(name string) (*arvados, error) {
	a := &arvados{url: s.URL, token: s.token, client: s.direct().client, name: name}
	var page struct{ Items []record }
	err := a.get(&page, "collections", "filters", fmt.Sprintf(`[["name","=",%q]]`, name))
	if err == nil && len(page.Items) != 1 {
		err = fmt.Errorf("%d collections are called %q", len(page.Items), name)
	}
	if err == nil {
		a.uuid = page.Items[0].UUID
	}
	return a, err
}

type record struct {
	UUID         string `json:"uuid"`
	Version      int    `json:"version"`
	ManifestText string `json:"manifest_text"`
}

func (a *arvados) do(method, path, contentType string, body []byte) ([]byte, error) {
	r, err := http.NewRequest(method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", contentType)
	reply, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, reply.Status, data)
	}
	return data, err
}

func (a *arvados) get(out any, path string, params ...string) error {
	q := make(url.Values)
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	data, err := a.do(http.MethodGet, "/arvados/v1/"+path+"?"+q.Encode(), "", nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

func (a *arvados) create(name string, data []byte) error {
	inside, ok := strings.CutPrefix(name, a.name+"/")
	if !ok {
		return errors.ErrUnsupported
	}
	var is record
	if err := a.get(&is, "collections/"+a.uuid); err != nil {
		return err
	}
	loc, err := a.do(http.MethodPut, fmt.Sprintf("/%x", md5.Sum(data)), "application/octet-stream", data)
	if err != nil {
		return err
	}
	dir, base := path.Split(inside)
	is.ManifestText += fmt.Sprintf("%s %s 0:%d:%s\n", strings.TrimSuffix("./"+dir, "/"), bytes.TrimSpace(loc), len(data), base)
	body, err := json.Marshal(map[string]any{"collection": map[string]any{"manifest_text": is.ManifestText}})
	if err != nil {
		return err
	}
	_, err = a.do(http.MethodPut, "/arvados/v1/collections/"+a.uuid, "application/json", body)
	return err
}

func (a *arvados) replace(string, []byte) error { return errors.ErrUnsupported }
func (a *arvados) rename(_, _ string) error     { return errors.ErrUnsupported }
func (a *arvados) remove(string) error          { return errors.ErrUnsupported }
func (a *arvados) mkdir(string) error           { return errors.ErrUnsupported }

// history adds to all what is in the versions of the collection.
func (a *arvados) history(all map[string][]string) error {
	blocks := make(map[string][]byte)
	for next := 1; next > 0; {
		var page struct{ Items []record }
		err := a.get(&page, "collections", "include_old_versions", "true", "order", `["version asc"]`, "limit", "20",
			"select", `["uuid","version","manifest_text"]`, "filters", fmt.Sprintf(`[["current_version_uuid","=",%q],["version",">=",%d]]`, a.uuid, next))
		if err != nil {
			return err
		}
		next = 0
		for _, v := range page.Items {
			next = v.Version + 1
			if err := a.contents(v, blocks, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// contents adds the files of one version to all.
func (a *arvados) contents(v record, blocks map[string][]byte, all map[string][]string) error {
	files := make(map[string][]byte)
	err := manifest.Scan(v.ManifestText, func(s *manifest.Stream) error {
		var data []byte
		for _, l := range s.Locators {
			if l == keepio.EmptyLocator || l.Size() == 0 {
				continue
			}
			b, ok := blocks[l.HashHex()]
			if !ok {
				var err error
				if b, err = a.do(http.MethodGet, "/"+l.String(), "", nil); err != nil {
					return err
				}
				blocks[l.HashHex()] = b
			}
			data = append(data, b...)
		}
		for _, f := range s.Files {
			name := path.Join(s.Name, f.Name)
			files[name] = append(files[name], data[f.Pos:f.Pos+f.Size]...)
		}
		return nil
	})
	for name, data := range files {
		sum := sumOf(data)
		all[sum] = append(all[sum], fmt.Sprintf("version %d: %s", v.Version, name))
	}
	return err
}
