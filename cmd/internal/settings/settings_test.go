package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// envOf makes an environment of its own.
func envOf(pairs map[string]string) Env {
	return func(name string) (string, bool) {
		v, ok := pairs[name]
		return v, ok
	}
}

const token = "v2/zzzzz-gj3su-000000000000001/verysecret"

func TestHostsAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"keep.example.com":          "https://keep.example.com",
		"Keep.Example.com:8443":     "https://keep.example.com:8443",
		" keep.example.com\r":       "https://keep.example.com",
		"http://127.0.0.1:8080":     "http://127.0.0.1:8080",
		"http://127.0.0.1:8080/":    "http://127.0.0.1:8080",
		"https://keep.example.com/": "https://keep.example.com",
		"::1":                       "https://[::1]",
		"[::1]:8443":                "https://[::1]:8443",
	} {
		s, err := Load(envOf(map[string]string{"ARVADOS_API_HOST": text, "ARVADOS_API_TOKEN": token}))
		if err != nil || s.API.String() != want {
			t.Errorf("host %q = %v, %v; want %s", text, s.API, err, want)
		}
	}
}

func TestWhatIsWrongIsNamedWithoutTheToken(t *testing.T) {
	for _, c := range []struct {
		name, value, want string
	}{
		{"ARVADOS_API_HOST", "ftp://keep.example.com", "http:// or https://"},
		{"ARVADOS_API_HOST", "keep.example.com/arvados/v1", "nothing behind them"},
		{"ARVADOS_API_HOST", "keep.example.com?x", "nothing behind them"},
		{"ARVADOS_API_HOST", "https://me:verysecret@keep.example.com", "user or a password"},
		{"ARVADOS_API_HOST", "keep.example.com:99999", "no number of a port"},
		{"ARVADOS_API_HOST", "keep.example.com:", "no number of a port"},
		{"ARVADOS_API_HOST", "http://", "no name of a host"},
		{"ARVADOS_API_HOST", "keep example", "no host name"},
		{"ARVADOS_API_TOKEN", "v2/zzzzz-gj3su-000000000000001", "a part is missing"},
		{"ARVADOS_API_TOKEN", "v2//verysecret", "a part is missing"},
		{"ARVADOS_API_TOKEN", `"verysecret"`, "no quotes"},
		{"ARVADOS_API_TOKEN", "very secret", "no spaces"},
		{"ARVADOS_API_TOKEN", "a/verysecret", "no token"},
		{"ARVADOS_API_TOKEN", strings.Repeat("verysecret", 200), "2000 bytes"},
		{"ARVADOS_API_HOST_INSECURE", "maybe", "write 1, or 0"},
		{"ARVADOS_DISABLE_WEBSOCKETS", "maybe", "write 1, or 0"},
		{"ARVADOS_KEEP_SERVICES", "http://a:25107 keep", "http:// or https://"},
	} {
		env := map[string]string{"ARVADOS_API_HOST": "keep.example.com", "ARVADOS_API_TOKEN": token}
		env[c.name] = c.value
		_, err := Load(envOf(env))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.name+", from the environment: ") {
			t.Errorf("%s=%s: %v; want %q in it", c.name, c.value, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "verysecret") {
			t.Errorf("%s=%s: the error tells a secret: %v", c.name, c.value, err)
		}
	}
}

func TestTheEnvironmentWinsOverTheFile(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, ".config/arvados/settings.conf"), "# ours\r\nARVADOS_API_HOST = file.example.com \r\nARVADOS_API_TOKEN=filetoken\r\nnonsense\nOTHER=1\nARVADOS_API_HOST_INSECURE=Yes\n")
	s, err := Load(envOf(map[string]string{"HOME": home}))
	if err != nil || s.API.Host != "file.example.com" || s.Token != "filetoken" || !s.Insecure || s.From != filepath.Join(home, ".config/arvados/settings.conf") {
		t.Errorf("from a file: %+v, %v", s, err)
	}
	s, err = Load(envOf(map[string]string{"HOME": home, "ARVADOS_API_HOST": "env.example.com", "ARVADOS_API_HOST_INSECURE": "0", "ARVADOS_KEEP_SERVICES": "http://a:25107  https://b/"}))
	if err != nil || s.API.Host != "env.example.com" || s.Token != "filetoken" || s.Insecure || len(s.KeepServices) != 2 || s.KeepServices[1] != "https://b/" {
		t.Errorf("environment over a file: %+v, %v", s, err)
	}
}

func TestTheFirstFileCounts(t *testing.T) {
	root := t.TempDir()
	places := []string{"svc/settings.conf", "xdg/arvados/settings.conf", "home/.config/arvados/settings.conf", "dirs2/arvados/settings.conf"}
	for _, p := range places {
		write(t, filepath.Join(root, p), "ARVADOS_API_HOST="+strings.Split(p, "/")[0]+"\nARVADOS_API_TOKEN=x\n")
	}
	env := envOf(map[string]string{
		"CONFIGURATION_DIRECTORY": root + "/none:" + root + "/svc", "XDG_CONFIG_HOME": root + "/xdg", "HOME": root + "/home",
		"XDG_CONFIG_DIRS": "relative:" + root + "/dirs1:" + root + "/dirs2",
	})
	for _, p := range places {
		s, err := Load(env)
		if want := strings.Split(p, "/")[0]; err != nil || s.API.Host != want {
			t.Fatalf("host of the first file = %v, %v; want %s", s.API, err, want)
		}
		if err := os.Remove(filepath.Join(root, p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	home := t.TempDir()
	_, err := Load(envOf(map[string]string{"HOME": home, "XDG_CONFIG_DIRS": home}))
	if !errors.Is(err, ErrNoHost) || !strings.Contains(err.Error(), filepath.Join(home, ".config/arvados/settings.conf")) {
		t.Errorf("without a host: %v", err)
	}
	s, err := Load(envOf(map[string]string{"HOME": home, "ARVADOS_API_HOST": "keep.example.com"}))
	if err != nil || !errors.Is(s.NeedToken(), ErrNoToken) {
		t.Errorf("without a token: %+v, %v", s, err)
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".config/arvados/settings.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(envOf(map[string]string{"HOME": home})); err == nil || !strings.Contains(err.Error(), "settings.conf") {
		t.Errorf("a directory in the place of the file: %v", err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("ARVADOS_API_HOST=keep.example.com\nARVADOS_API_TOKEN=v2/a/b\n", "http://[::1]:1", "1", "http://a https://b")
	f.Add("#\r\n=\n\x00", "%zz", "", "")
	f.Fuzz(func(t *testing.T, file, host, insecure, services string) {
		values, err := parse(strings.NewReader(file))
		if err != nil {
			return
		}
		src := source{file: values, env: envOf(map[string]string{"ARVADOS_API_HOST": host, "ARVADOS_API_HOST_INSECURE": insecure, "ARVADOS_KEEP_SERVICES": services})}
		s, err := src.settings()
		if err != nil {
			return
		}
		again, err := parseHost(s.API.String())
		if err != nil || again.String() != s.API.String() || again.Hostname() == "" {
			t.Errorf("host %q is %q, and that is %v, %v", host, s.API, again, err)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
