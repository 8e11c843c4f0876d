package arvados

import (
	"context"
	"strings"
	"time"

	"keepdav/collfs/query"
	"keepdav/web/arvados/eventbus"
)

const (
	// SignatureTTL is how long signatures of blocks are good for.
	SignatureTTL = 14 * 24 * time.Hour
	// revisionOfAPI is that of the API which this one is like.
	revisionOfAPI = "20250402"
	// extension is the version of what keepdav's own clients may use beyond it.
	extension = 1
)

// A schema describes a kind of record.
type schema struct {
	infix string
	attrs []string
}

// schemas are the kinds of records that there are.
var schemas = map[string]schema{
	"ApiClientAuthorization": {"gj3su", words("api_token created_at created_by_ip_address etag expires_at last_used_at last_used_by_ip_address scopes uuid")},
	"Collection": {"4zz18", words("created_at current_version_uuid delete_at description etag file_count file_size_total is_trashed manifest_text modified_at modified_by_user_uuid" +
		" name owner_uuid portable_data_hash preserve_version properties replication_confirmed replication_confirmed_at replication_desired" +
		" storage_classes_confirmed storage_classes_confirmed_at storage_classes_desired trash_at uuid version")},
	"Group":       {"j7d0g", words("created_at delete_at description etag frozen_by_uuid group_class is_trashed modified_at modified_by_user_uuid name owner_uuid properties trash_at uuid")},
	"KeepService": {"bi6l4", words("created_at etag modified_at modified_by_user_uuid owner_uuid read_only service_host service_port service_ssl_flag service_type uuid")},
	"Link":        {"o0j2j", words("created_at etag head_uuid link_class modified_at modified_by_user_uuid name owner_uuid properties tail_uuid uuid")},
	"Log":         {"57u5n", words("created_at etag event_at event_type id modified_at modified_by_user_uuid object_owner_uuid object_uuid owner_uuid properties summary uuid")},
	"User":        {"tpzed", words("created_at email etag first_name identity_url is_active is_admin last_name modified_at modified_by_user_uuid owner_uuid prefs username uuid")},
}

func words(text string) []string { return strings.Fields(text) }

// types of attributes that are no text.
var types = map[string]string{
	"created_at": "datetime", "modified_at": "datetime", "event_at": "datetime", "expires_at": "datetime", "trash_at": "datetime", "delete_at": "datetime",
	"last_used_at": "datetime", "replication_confirmed_at": "datetime", "storage_classes_confirmed_at": "datetime",
	"properties": "Hash", "prefs": "Hash", "scopes": "Array", "storage_classes_desired": "Array", "storage_classes_confirmed": "Array",
	"is_trashed": "boolean", "is_active": "boolean", "is_admin": "boolean", "preserve_version": "boolean", "read_only": "boolean", "service_ssl_flag": "boolean",
	"file_count": "integer", "file_size_total": "integer", "id": "integer", "service_port": "integer", "version": "integer", "replication_desired": "integer", "replication_confirmed": "integer",
}

// discoverySchemas is the part of the discovery document that describes records.
func discoverySchemas() map[string]any {
	all := make(map[string]any)
	for name, s := range schemas {
		properties := make(map[string]any)
		for _, a := range s.attrs {
			kind := types[a]
			if kind == "" {
				kind = "string"
			}
			properties[a] = map[string]string{"type": kind}
		}
		all[name] = map[string]any{"id": name, "type": "object", "uuidPrefix": s.infix, "properties": properties}
		all[name+"List"] = map[string]any{"id": name + "List", "type": "object", "uuidPrefix": nil, "properties": map[string]any{
			"kind": map[string]string{"type": "string"}, "etag": map[string]string{"type": "string"},
			"items": map[string]any{"type": "array", "items": map[string]string{"$ref": name}},
		}}
	}
	return all
}

// methodName is what the discovery document calls an endpoint of a resource; rest are
// the parts of its path after that.
func methodName(method string, rest []string) string {
	action := ""
	if n := len(rest); n > 0 && rest[n-1] != "{uuid}" {
		action = rest[n-1]
	}
	switch {
	case action != "":
		return action
	case method == "GET" && len(rest) == 0:
		return "list"
	case method == "GET":
		return "get"
	case method == "POST":
		return "create"
	case method == "PATCH":
		return "update"
	}
	return "delete"
}

// discoveryResources is the part of the discovery document that describes what can be
// asked: all endpoints that there are.
func (a *API) discoveryResources() map[string]any {
	all := make(map[string]any)
	for _, routes := range a.routes {
		for _, r := range routes {
			if len(r.segments) < 3 || strings.Join(r.segments[:2], "/") != strings.Trim(prefix, "/") {
				continue
			}
			resource := r.segments[2]
			if resource == "config" {
				resource = "configs"
			}
			name := methodName(r.Method, r.segments[3:])
			if resource == "configs" {
				name = "get"
			}
			methods, ok := all[resource].(map[string]any)
			if !ok {
				methods = map[string]any{}
				all[resource] = map[string]any{"methods": methods}
			} else {
				methods = methods["methods"].(map[string]any)
			}
			path := strings.Join(r.segments[2:], "/")
			method := map[string]any{
				"id": "arvados." + resource + "." + name, "path": path, "httpMethod": r.Method, "parameters": methodParams(name, path, r.Record),
				"scopes": []string{"https://api.arvados.org/auth/arvados"},
			}
			if r.Record != "" && (name == "create" || name == "update") {
				method["request"] = map[string]any{"required": true, "properties": map[string]any{r.Record: map[string]any{"type": "object", "required": true}}}
			}
			methods[name] = method
		}
	}
	return all
}

// methodParams describes the parameters of a method: clients refuse to send others.
func methodParams(name, path, record string) map[string]any {
	param := func(kind string) map[string]any {
		return map[string]any{"type": kind, "required": false, "location": "query"}
	}
	all := map[string]any{"select": param("array")}
	if strings.Contains(path, "{uuid}") {
		all["uuid"] = map[string]any{"type": "string", "required": true, "location": "path"}
	}
	add := func(kind string, names ...string) {
		for _, n := range names {
			all[n] = param(kind)
		}
	}
	switch name {
	case "list", "contents", "shared":
		add("array", "filters", "order", "reader_tokens")
		add("integer", "limit", "offset")
		add("boolean", "distinct", "include_trash", "include_old_versions", "bypass_federation")
		add("string", "count", "cluster_id", "where")
		if name != "list" {
			add("boolean", "recursive", "exclude_home_project")
			add("array", "include")
		}
	case "get":
		add("boolean", "include_trash")
	case "create", "update":
		add("object", "replace_files", "replace_segments")
		add("boolean", "ensure_unique_name")
		add("string", "cluster_id")
	case "untrash":
		add("boolean", "ensure_unique_name")
	}
	return all
}

// AddDiscovery adds the discovery document, which describes the other endpoints.
func (a *API) AddDiscovery() {
	since := a.Now()
	a.Add(Endpoint{Method: "GET", Path: "/discovery/v1/apis/arvados/v1/rest", Public: true, Do: func(_ context.Context, req *Request) (any, error) {
		return a.discovery(req, since), nil
	}})
}

func (a *API) discovery(req *Request, since time.Time) map[string]any {
	root := urlOf(req.HTTP, "http") + "/"
	return map[string]any{
		"kind": "discovery#restDescription", "discoveryVersion": "v1", "id": "arvados:v1", "name": "arvados", "version": "v1", "protocol": "rest",
		"title": "Arvados API", "description": "The API to interact with Arvados.", "documentationLink": "http://doc.arvados.org/api/index.html",
		"revision": revisionOfAPI, "packageVersion": "keepdav", "sourceVersion": "keepdav", "source_version": "keepdav", "generatedAt": since.UTC().Format(time.RFC3339),
		"rootUrl": root, "baseUrl": strings.TrimSuffix(root, "/") + prefix, "basePath": prefix, "servicePath": strings.TrimPrefix(prefix, "/"), "batchPath": "batch",
		"uuidPrefix": a.conf.Cluster, "defaultCollectionReplication": 1, "blobSignatureTtl": int(SignatureTTL / time.Second), "defaultTrashLifetime": int(trashTime / time.Second),
		"maxRequestSize": MaxRequestSize, "maxItemsPerResponse": query.MaxLimit, "crunchLogUpdatePeriod": 1800, "crunchLogUpdateSize": 32 << 20, "dockerImageFormats": []string{"v2"},
		"remoteHosts": map[string]any{}, "remoteHostsViaDNS": false, "workbenchUrl": root, "workbench2Url": root,
		"websocketUrl": urlOf(req.HTTP, "ws") + EventPath, "keepWebServiceUrl": root,
		"schemas": discoverySchemas(), "resources": a.discoveryResources(), "parameters": map[string]any{
			"alt": map[string]any{"type": "string", "location": "query", "default": "json", "enum": []string{"json"}}, "oauth_token": map[string]any{"type": "string", "location": "query"},
		},
		"auth":    map[string]any{"oauth2": map[string]any{"scopes": map[string]any{}}},
		"keepdav": map[string]any{"version": extension},
	}
}

// EventPath is where the event bus is.
const EventPath = eventbus.Path

// attrsOf returns the attributes of a kind of record for queries.
func attrsOf(name string) query.Attrs {
	attrs := make(query.Attrs)
	for _, a := range schemas[name].attrs {
		switch types[a] {
		case "datetime":
			attrs[a] = query.Time
		case "Hash":
			attrs[a] = query.Object
		case "Array":
			attrs[a] = query.Array
		case "boolean":
			attrs[a] = query.Bool
		case "integer":
			attrs[a] = query.Number
		default:
			attrs[a] = query.Text
		}
	}
	delete(attrs, "etag")
	return attrs
}
