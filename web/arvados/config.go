package arvados

import (
	"context"

	"keepdav/collfs/query"
)

// AddConfig adds the part of a cluster's configuration that everybody may see.
func (a *API) AddConfig() {
	a.Add(Endpoint{Method: "GET", Path: "config", Public: true, Do: func(_ context.Context, req *Request) (any, error) {
		return a.publicConfig(req), nil
	}})
}

type object = map[string]any

func (a *API) publicConfig(req *Request) object {
	root := urlOf(req.HTTP, "http") + "/"
	here := object{"ExternalURL": root}
	nowhere := object{"ExternalURL": ""}
	off := object{"Enable": false}
	return object{
		"ClusterID": a.conf.Cluster,
		"API": object{
			"MaxItemsPerResponse": query.MaxLimit, "MaxRequestSize": MaxRequestSize, "RequestTimeout": "10m", "SendTimeout": "1m",
			"FreezeProjectRequiresDescription": false, "FreezeProjectRequiresProperties": object{}, "UnfreezeProjectRequiresAdmin": false,
		},
		"Collections": object{
			"BlobSigning": true, "BlobSigningTTL": "336h", "CollectionVersioning": true, "DefaultReplication": 1, "DefaultTrashLifetime": "336h",
			"ForwardSlashNameSubstitution": "", "ManagedProperties": object{}, "PreserveVersionIfIdle": "10s", "S3FolderObjects": true, "TrustAllContent": true,
		},
		"Containers": object{
			"AlwaysUsePreemptibleInstances": false, "DefaultKeepCacheRAM": 0, "MaxRetryAttempts": 0, "MaximumPriceFactor": 0, "MinRetryPeriod": "0s",
			"ReserveExtraRAM": 0, "RuntimeEngine": "", "ShellAccess": object{"Admin": false, "User": false}, "SupportedDockerImageFormats": object{"v2": object{}},
		},
		"InstanceTypes": object{},
		"Login": object{
			"Google": off, "LDAP": off, "OpenIDConnect": off, "PAM": off, "Test": off, "LoginCluster": "", "RemoteTokenRefresh": "5m",
		},
		"RemoteClusters": object{"*": object{"ActivateUsers": false, "Host": "", "Insecure": false, "Proxy": false, "Scheme": "https"}},
		"Services": object{
			"Controller": here, "Keepproxy": here, "WebDAV": here, "WebDAVDownload": here, "Websocket": object{"ExternalURL": urlOf(req.HTTP, "ws") + EventPath},
			"Workbench1": here, "Workbench2": here,
			"Composer": nowhere, "ContainerWebServices": nowhere, "DispatchCloud": nowhere, "DispatchLSF": nowhere, "DispatchSLURM": nowhere, "Health": nowhere,
			"Keepbalance": nowhere, "Keepstore": nowhere, "RailsAPI": nowhere, "WebShell": nowhere,
		},
		"StorageClasses": object{"default": object{"Default": true, "Priority": 0}},
		"Users": object{
			"AnonymousUserToken": "", "CanCreateRoleGroups": false, "SupportEmailAddress": "", "SyncIgnoredGroups": []string{}, "SyncRequiredGroups": []string{},
			"SyncUserAPITokens": false, "SyncUserAccounts": false, "SyncUserGroups": false, "SyncUserSSHKeys": false,
		},
		"Volumes": object{
			string(a.uuid("nyw5e", serviceTails["disk"])): object{
				"AccessViaHosts": object{root: object{"ReadOnly": false}}, "ReadOnly": false, "Replication": 1, "StorageClasses": object{"default": true},
			},
		},
		"Workbench": object{
			"ArvadosDocsite": "https://doc.arvados.org", "ArvadosPublicDataDocURL": "", "BannerUUID": "", "DisableSharingURLsUI": false, "FileViewersConfigURL": "",
			"IdleTimeout": "0s", "InactivePageHTML": "", "SSHHelpHostSuffix": "", "SSHHelpPageHTML": "", "ShowUserAgreementInline": false, "SiteName": "keepdav",
			"Theme": "default", "UserProfileFormFields": object{}, "UserProfileFormMessage": "", "WelcomePageHTML": "",
		},
		"keepdav": object{"version": extension},
	}
}
