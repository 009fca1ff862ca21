"""A request that must not run twice: ``python dedupe.py``.

The reply to the first send comes too late for its share of the budget, so the client sends again. With ``dedupe=True`` the
server knows the request by its id and answers it once it has, without running it again.
"""

import time

from pydantic import BaseModel

from zpatterns import Method, ReplyServer, RequestClient, RequestContext, Retry


class Payment(BaseModel):
    account: str
    amount: int


PAY = Method("bank.pay", Payment, int, dedupe=True)
server = ReplyServer("tcp://127.0.0.1:*", name="bank")
balances = {"ann": 100}
runs = 0


@server.reply(PAY)
def pay(payment: Payment, ctx: RequestContext) -> int:
    global runs
    runs += 1
    time.sleep(1.0)  # longer than a third of the caller's 2 s
    balances[payment.account] -= payment.amount
    return balances[payment.account]


with server, RequestClient(server.endpoint, timeout=2.0, retry=Retry(attempts=3)) as client:
    print("balance:", client.request(PAY, Payment(account="ann", amount=30)))
    print("sent again:", client.statistics.retried, "run:", runs)
