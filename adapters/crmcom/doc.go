// Package crmcom calls CRM.COM (Web API V4): amending subscriptions, swapping services, the Netflix methods, and the
// reads that settle what they did. The facts about its wire contract, and how sure each of them is, stand in the
// project's reference of the CRM.COM API; what the vendor's pages leave open is a setting with a safe default here.
//
// Every reply is to be an envelope: {"data": …, "status": {"code": …}}, each member once, data an object, an array or
// null, code a text. A code that is OK in another spelling makes none, since it must not be taken for a refusal; one on a
// list of Codes counts without data too, since nobody has seen how failures look. What a reply to a change means:
//
//	                           2xx                 401, 403, 429        other 4xx           3xx, 5xx
//	code on a list of Codes    by the list         by the list          by the list         by the list
//	no code of a list, and the
//	status on a list of Codes  -                   by the list          by the list         by the list
//	OK                         done                not applied, all     unknown             unknown
//	any other code             refused             not applied, all     refused             unknown
//	no envelope                unknown             not applied, all     unknown             unknown
//
// "Not applied, all" is Unavailable and speaks of the installation as a whole. By the lists: InvalidToken and
// HTTPInvalidToken: nothing was done, and the call is made again with a new token, once; Duplicate: the reference was
// used before; NotFound and Refused: refused; NotApplied and HTTPNotApplied: Unavailable; Unknown: unknown. A read changes nothing,
// so every failure of one is Unavailable, but a code of NotFound, which says that there is no such subscription.
//
// A call that gets no token has submitted nothing: it is Unavailable, and speaks of the installation as a whole. So is
// one whose token came so late that less than half of the time for the call was left: its reply would hardly be awaited,
// and what it did would be a doubt for nothing. The token is kept, and the next call has the whole time. A login that is
// slow, but not that slow, leaves the call less time; where its reply does not come within it, that is Unknown, as ever.
//
// An envelope's words may repeat what the command holds: what is personal in it is masked before they travel.
package crmcom
