// Package tvms renews customers of TVMS (docs.tvms.io), and reads back what a renewal did. The facts about its wire
// contract, and how sure each of them is, stand in the project's reference of the TVMS API; what the vendor's manual
// leaves open is a setting with a safe default here.
//
// What a reply to RenewCustomer means (the manual describes none):
//
//   - 400, 406 (Replies.Refused), or a 2xx with a top-level "Message": refused, nothing happened
//   - 2xx with a JSON object and no "Message": renewed
//   - 401, 403, 429: surely not applied, and a matter of the whole installation
//   - everything else is unknown: 3xx, 5xx, 404 and other statuses nobody documented, HTML, an empty or scalar or half
//     body. A 404 most often says that base_url or the route is wrong, but nothing documents that it comes before any
//     effect; an operator who has seen it lists it under Replies.NotApplied (or Replies.Refused)
//
// A read changes nothing, so every failure of one is Unavailable.
package tvms
