package events_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"subrelay/events"
)

func TestIsSecretName(t *testing.T) {
	for _, name := range []string{
		"authToken", "auth_token", "AUTH-TOKEN", "password", "Pass_Word", "pwd", "token", "ce-token", "CE_authToken", "apiKey", "api.key",
		"secret", "Authorization", "client secret", "paſſword", "to\u212Aen",
	} {
		if !events.IsSecretName(name) {
			t.Errorf("IsSecretName(%q) = false", name)
		}
	}
	for _, name := range []string{
		"", "-", "tokens", "token_count", "months", "customer_mapping_id", "tökén", "пароль", strings.Repeat("token", 100), "ce", "ce-id",
	} {
		if events.IsSecretName(name) {
			t.Errorf("IsSecretName(%q) = true", name)
		}
	}
}

func TestFindSecret(t *testing.T) {
	for data, want := range map[string]string{
		`{"months":1,"user_id":"token"}`:                          "",
		`{"authToken":"x"}`:                                       "/authToken",
		`{"\u0061uthToken":"x"}`:                                  "/authToken",
		`{"z":1,"token":null,"password":"x","authToken":"y"}`:     "/authToken",
		`{"a":{"token":1},"b":2,"secret":3}`:                      "/a/token",
		`{"token":{"password":1}}`:                                "/token",
		`{"list":[1,{"x":[{"pass~/word":1},{"api-key":"k"}]}]}`:   "/list/1/x/1/api-key",
		`{"a/b~c":{"token":1}}`:                                   "/a~1b~0c/token",
		`["token",{"token":1}]`:                                   "/1/token",
		`"password"`:                                              "",
		`{"b":{"b":{"pwd":1}},"a":{"z":[{"passwd":1}]},"c":null}`: "/a/z/0/passwd",
	} {
		var v any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		for range 20 { // maps have no order
			if got := events.FindSecret(v); got != want {
				t.Fatalf("FindSecret(%s) = %q, want %q", data, got, want)
			}
		}
	}
}

func TestMask(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, tc := range []struct{ name, raw, want string }{
		{"JSON", `{"authToken":"s3", "months": 1}`, `{"authToken":"***","months":1}`},
		{"any type of value", `[{"token":7},{"token":null},{"token":{"a":"s3"}},{"token":["s3"]}]`, `[{"token":"***"},{"token":"***"},{"token":"***"},{"token":"***"}]`},
		{"nested", `{"data":{"list":[{"Pass-Word":"s3"}]}}`, `{"data":{"list":[{"Pass-Word":"***"}]}}`},
		{"separators within a name", `{"pass-word":"s3","tok_en":"s3"}`, `{"pass-word":"***","tok_en":"***"}`},
		{"an escaped name", `{"\u0061uthToken":"s3"}`, `{"authToken":"***"}`},
		{"large numbers and < stay as they are", `{"n":12345678901234567890,"a":"<&>","token":"s3"}`, `{"a":"<&>","n":12345678901234567890,"token":"***"}`},
		{"JSON in a string", `{"data":"{\"password\":\"s3\",\"n\":1}"}`, `{"data":"{\"n\":1,\"password\":\"***\"}"}`},
		{"text in a string", `{"note":"authToken=s3&months=1"}`, `{"note":"authToken=\"***\"&months=1"}`},
		{"base64", `{"data_base64":"` + b64([]byte(`{"password":"s3"}`)) + `"}`, `{"data_base64":"` + b64([]byte(`{"password":"***"}`)) + `"}`},
		{"a repeated member", `{"password":"s3","password":"***"}`, `{"password":"***"}`},
		{"a repeated object", `{"a":{"password":"s3"},"a":1}`, `{"a":1}`},
		{"names that are no UTF-8", "{\"\xff\":{\"token\":\"s3\"},\"\xfe\":1}", `{"�":1}`},
		{"a query", `POST /renew?customermappingid=C-1&authToken=s3!#@=()_$+-&password=s3`, `POST /renew?customermappingid=C-1&authToken="***"&password="***"`},
		{"a coded query", `authToken%3Ds3`, `authToken%3D"***"`},
		{"a header", "X-Auth-Token: s3\r\nAuthorization: Bearer s3\r\nHost: x", "X-Auth-Token: \"***\"\r\nAuthorization: \"***\"\r\nHost: x"},
		{"YAML", "password: 's3 s3'\nmonths: 1", "password: \"***\"\nmonths: 1"},
		{"XML", "<password>s3</password><months>1</months>", `<password>"***"</password><months>1</months>`},
		{"cut JSON", `{"months":1,"password":"s3`, `{"months":1,"password":"***"`},
		{"cut JSON, escaped name", `{"\u0070ass\u0057ord":"s3","months":`, `{"\u0070ass\u0057ord":"***","months":`},
		{"cut JSON, an object", `{"token":{"a":"s3","b":`, `{"token":"***"`},
		{"two values", `{"token":"s3"} {"token":"s3"}`, `{"token":"***"} {"token":"***"}`},
		{"a name for a value", `token="password":"s3"`, `token="***":"***"`},
		{"quotes in the value", `x "password":"s3\"s3" y`, `x "password":"***" y`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(events.Mask([]byte(tc.raw)))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got, "s3") {
				t.Errorf("the secret is still there: %s", got)
			}
			if again := string(events.Mask([]byte(got))); json.Valid([]byte(tc.raw)) && again != got {
				t.Errorf("masked again: %s", again)
			}
		})
	}
}

func TestIsPersonalName(t *testing.T) {
	for _, name := range []string{
		"customer_first_name", "customerLastName", "CUSTOMER-ADDRESS", "customer_email", "customer_phone", "access_token_identifier",
		"authentication_code", "pass_code", "passCode", "ce-customeremail", "e-mail", "email_address", "postal.code",
	} {
		if !events.IsPersonalName(name) {
			t.Errorf("IsPersonalName(%q) = false", name)
		}
	}
	for _, name := range []string{
		"", "name", "identifier", "number", "accounts_receivable_identifier", "billing_system_customer_identifier", "customer_mapping_id",
		"user_id", "token", "emails", "ce",
	} {
		if events.IsPersonalName(name) {
			t.Errorf("IsPersonalName(%q) = true", name)
		}
	}
}

func TestMaskPersonal(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, tc := range []struct{ name, raw, want string }{
		{"names", `{"customer_first_name":"s3","customerLastName":"s3","channel":"WEB"}`, `{"channel":"WEB","customerLastName":"***","customer_first_name":"***"}`},
		{"whole objects", `{"customer_address":{"type":"HOME","street_name":"s3"},"customer_email":{"email_address":"s3"},"customer_phone":{"number":"s3"}}`,
			`{"customer_address":"***","customer_email":"***","customer_phone":"***"}`},
		{"who and which card", `{"performed_by_user_identifier":{"person_name":"s3"},"payment_gateway_card_identifier":{"number":"s3"},"udf_string_1":"x"}`,
			`{"payment_gateway_card_identifier":"***","performed_by_user_identifier":"***","udf_string_1":"x"}`},
		{"of any type", `[{"customer_email":["s3"]},{"customer_phone":53},{"customer_address":"s3"}]`, `[{"customer_email":"***"},{"customer_phone":"***"},{"customer_address":"***"}]`},
		{"a wrong name", `{"email":"s3","first-name":"s3","postal_code":"s3"}`, `{"email":"***","first-name":"***","postal_code":"***"}`},
		{"an account's name", `{"data":{"accounts_receivable_identifier":{"name":"s3","number":"A1"},"name":"stays"}}`,
			`{"data":{"accounts_receivable_identifier":{"name":"***","number":"A1"},"name":"stays"}}`},
		{"an account's name, deeper", `{"accountsReceivableIdentifier":[{"x":{"NAME":{"y":"s3"}}}]}`, `{"accountsReceivableIdentifier":[{"x":{"NAME":"***"}}]}`},
		{"an account as a text", `{"accounts_receivable_identifier":"name=s3"}`, `{"accounts_receivable_identifier":"***"}`},
		{"an account as JSON in a text", `{"accounts_receivable_identifier":"{\"name\":\"s3\",\"id\":1}"}`, `{"accounts_receivable_identifier":"{\"id\":1,\"name\":\"***\"}"}`},
		{"access tokens", `{"accounts_receivable_identifier":{"access_token_identifier":{"identifier":"s3","pass_code":"s3"}}}`, `{"accounts_receivable_identifier":{"access_token_identifier":"***"}}`},
		{"codes elsewhere, and what stands beside them", `{"x":{"identifier":"s3","pass_code":"s3"},"y":{"authentication_code":"s3","identifier":"s3"},"identifier":"stays"}`,
			`{"identifier":"stays","x":{"identifier":"***","pass_code":"***"},"y":{"authentication_code":"***","identifier":"***"}}`},
		{"JSON in a string", `{"data":"{\"customer_first_name\":\"s3\"}"}`, `{"data":"{\"customer_first_name\":\"***\"}"}`},
		{"base64", `{"data_base64":"` + b64([]byte(`{"customer_email":"s3"}`)) + `"}`, `{"data_base64":"` + b64([]byte(`{"customer_email":"***"}`)) + `"}`},
		{"a repeated member", `{"customer_email":"s3","customer_email":"***"}`, `{"customer_email":"***"}`},
		{"cut JSON", `{"channel":"WEB","customer_first_name":"s3 s3","customer_last_name":"s3`, `{"channel":"WEB","customer_first_name":"***","customer_last_name":"***"`},
		{"cut JSON, an object", `{"channel":"WEB","customer_email":{"email_address":"s3","x":`, `{"channel":"WEB","customer_email":"***"`},
		{"cut JSON, an account", `{"months":1,"accounts_receivable_identifier":{"name":"s3","x":`, `{"months":1,"accounts_receivable_identifier":"***"`},
		{"cut JSON, a code and what stands beside it", `{"identifier":"s3","pass_code":"s3`, `{"identifier":"***","pass_code":"***"`},
		{"cut JSON, an escaped name", `{"customer\u005femail":"s3","n":`, `{"customer\u005femail":"***","n":`},
		{"YAML", "customer_first_name: s3 s3, s3\nchannel: WEB\n", "customer_first_name: \"***\"\nchannel: WEB\n"},
		{"a block of YAML", "channel: WEB\ncustomer_address:\n  street_name: s3\n  x: s3\n", "channel: WEB\ncustomer_address:\n  \"***\""},
		{"XML", "<customer_last_name>s3 s3</customer_last_name><n>1</n>", `<customer_last_name>"***"</customer_last_name><n>1</n>`},
		{"an object in XML", "<n>1</n><customer_phone><number>s3</number></customer_phone>", `<n>1</n><customer_phone>"***"`},
		{"a query", "customer_first_name=s3+s3&channel=WEB&accounts_receivable_identifier=name=s3", `customer_first_name="***"&channel=WEB&accounts_receivable_identifier="***"`},
		{"a coded query", "customer%5Ffirst%5Fname%3Ds3%20s3&channel=WEB", `customer%5Ffirst%5Fname%3D"***"&channel=WEB`},
		{"beside a secret", `customer_first_name: s3 token: s3`, `customer_first_name: "***"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(events.Mask([]byte(tc.raw)))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got, "s3") {
				t.Errorf("what is personal is still there: %s", got)
			}
			if again := string(events.Mask([]byte(got))); again != got {
				t.Errorf("masked again: %s", again)
			}
			if plain := events.MaskSecrets([]byte(tc.raw)); tc.name != "beside a secret" && tc.name != "a repeated member" && string(plain) != tc.raw {
				t.Errorf("MaskSecrets masks what is no secret: %s", plain)
			}
			var v any
			if json.Unmarshal([]byte(tc.raw), &v) == nil && events.FindSecret(v) != "" {
				t.Error("what is personal is taken for a secret: the command would be refused")
			}
		})
	}
}

func TestFindMasked(t *testing.T) {
	for data, want := range map[string]string{
		`{"customer_email":"***"}`:                     "/customer_email",
		`{"b":"***","a":{"x/y":[1,"***"]}}`:            "/a/x~1y/1",
		`"***"`:                                        "",
		`{"data":"{\"customer_first_name\":\"***\"}"}`: "/data",
		`{"note":"token=\"***\""}`:                     "/note",
	} {
		var v any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		if got, ok := events.FindMasked(v); !ok || got != want {
			t.Errorf("FindMasked(%s) = %q, %v", data, got, ok)
		}
	}
	for _, data := range []string{`{"a":"**","b":["****"],"***":1}`, `null`, `"a *** b"`} {
		var v any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		if got, ok := events.FindMasked(v); ok {
			t.Errorf("FindMasked(%s) = %q", data, got)
		}
	}
}

func TestMaskResult(t *testing.T) {
	for raw, want := range map[string]string{
		`{"netflix_token":"s3","settled_by":"operator"}`:                                   `{"netflix_token":"***","settled_by":"operator"}`,
		`{"deep":[{"NetflixToken":"s3"}]}`:                                                 `{"deep":[{"NetflixToken":"***"}]}`,
		`{ "token_lost": true }`:                                                           `{ "token_lost": true }`,
		`{"taken":["I1"],"failed":[{"number":"I2","error_description":"no such charge"}]}`: `{"taken":["I1"],"failed":[{"number":"I2","error_description":"no such charge"}]}`,
		"": "", "null": "null",
	} {
		if got := string(events.MaskResult(json.RawMessage(raw))); got != want {
			t.Errorf("MaskResult(%s) = %s, want %s", raw, got, want)
		}
	}
}

func TestMaskLeavesTheRestByteForByte(t *testing.T) {
	for _, raw := range []string{
		"", " ", "null", `{ "months" : 1.0, "b":2, "a":"\u00e9\u2603" }` + "\n", `{"tokens":1}`, `{"name":"x","identifier":"y","number":"z"}`, "identifier: y", "months=1", "\xff\xfe", "a token is a word", "{", `"x"`,
		`{"data_base64":"not base64"}`, `{"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"months":1}`)) + `"}`,
	} {
		in := []byte(raw)
		if got := events.Mask(in); !bytes.Equal(got, []byte(raw)) {
			t.Errorf("Mask(%q) = %q", raw, got)
		}
	}
}

// Text goes through the pattern only where it may hold a name: that look must not miss what the pattern finds.
func FuzzMaskText(f *testing.F) {
	f.Add("", "=", "s3")
	f.Add("x ", ": ", "'s3'")
	f.Fuzz(func(t *testing.T, before, between, value string) {
		for _, name := range []string{"token", "TO-KEN", "to.k e_n", "\u017fecret", "to\u212aen", `\u0074oken`, "P-W-D", "api. key", "refresh token"} {
			plain := string(events.Mask([]byte(before + "token" + between + value + "!")))
			spelled := string(events.Mask([]byte(before + name + between + value + "!")))
			if want := strings.Replace(plain, before+"token", before+name, 1); strings.HasPrefix(plain, before+"token") && spelled != want {
				t.Errorf("as token: %q\nas %s: %q", plain, name, spelled)
			}
		}
	})
}

// Whoever sends rubbish must not keep a worker busy: a command may have 256 KiB, and time must not grow with its square.
func TestMaskIsQuickWithRubbish(t *testing.T) {
	const size = 256 << 10
	for _, unit := range []string{`token:\"`, `token="`, "token='", "token=", `\u0074oken`, "x", `"token`, "customer_email=", `email:\"`, "pass_code:identifier:'", "pwd=", "{", `{"a":`, "[", `\`, "to ken = "} {
		raw := []byte(strings.Repeat(unit, size/len(unit)) + `"` + unit + unit)
		begin := time.Now()
		events.Mask(raw)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%q takes %s", unit, d)
		} else {
			t.Logf("%q takes %s", unit, d)
		}
	}
}

// FuzzMask puts a credential into JSON and into text, amid what the fuzzer thinks of, and looks for it afterwards.
func FuzzMask(f *testing.F) {
	f.Add(uint8(0), uint8(0), "", "", 0)
	f.Add(uint8(1), uint8(3), `{"x":`, `}`, 9)
	f.Add(uint8(2), uint8(2), "token=", "&months=1", 17)
	f.Add(uint8(3), uint8(1), `{"password":"***",`, `,"token":"***"}`, 30)
	f.Add(uint8(4), uint8(4), "\\", "\\\"", 1)
	f.Add(uint8(6), uint8(2), "customer_email", "identifier", 40)
	f.Add(uint8(12), uint8(3), "name", "pass_code", 25)
	names := []string{
		"authToken", "pass-word", "API_KEY", "token", "Secret", "authorization",
		"customer_first_name", "customerEmail", "customer_address", "customer-phone", "authentication_code", "access_token_identifier",
		"accounts_receivable_identifier", "pass_code",
	}
	const secret = "S3cr3t-V4lu3!#@=()_$+"
	f.Fuzz(func(t *testing.T, which, depth uint8, before, after string, cut int) {
		if strings.Contains(before+after, secret) {
			return
		}
		var value any = map[string]any{before: after, names[int(which)%len(names)]: secret}
		for range depth % 6 {
			value = map[string]any{after: []any{before, value}}
		}
		whole, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if name := names[int(which)%len(names)]; events.IsSecretName(name) && events.FindSecret(value) == "" {
			t.Errorf("FindSecret(%s) finds nothing", whole)
		}
		texts := [][]byte{whole, []byte(before + `"` + names[int(which)%len(names)] + `":"` + secret + `"` + after)}
		if cut > 0 && cut < len(whole) {
			texts = append(texts, whole[:cut])
		}
		quoted, _ := json.Marshal(map[string]any{"data": string(whole), "data_base64": base64.StdEncoding.EncodeToString(whole)})
		for _, text := range append(texts, quoted) {
			masked := events.Mask(bytes.Clone(text))
			if bytes.Contains(masked, []byte(secret)) || bytes.Contains(masked, []byte(base64.StdEncoding.EncodeToString(whole))) {
				t.Errorf("Mask(%q) = %q", text, masked)
			}
			if json.Valid(text) && !json.Valid(masked) {
				t.Errorf("masking broke the JSON %s: %s", text, masked)
			}
		}
	})
}
