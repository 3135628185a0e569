// Three different calls at once: flight, hotel and car. If one fails, the hub waits for the others (`drain`), and cancels
// those that succeeded. A part without an input calls nothing: not everybody wants a car.
import { end, hub, spoke, stay } from "wheelwork";
import { z } from "zod";

const place = z.object({ city: z.string() });
const booking = z.object({ booking: z.string() });
const call = { input: place, output: booking, errors: ["full"], timeoutMs: 30_000 } as const;
export const bookFlight = spoke("book-flight", call);
export const bookHotel = spoke("book-hotel", call);
export const rentCar = spoke("rent-car", call);
export const cancelBooking = spoke("cancel-booking", {
  input: booking,
  output: z.object({}),
  timeoutMs: 30_000,
  retry: { attempts: 5, backoffMs: 1_000 },
});

export const journey = hub(
  "journey",
  {
    request: z.object({ city: z.string(), car: z.boolean() }),
    reply: z.object({ bookings: z.array(z.string()) }),
    errors: ["not-booked"],
    deadlineMs: 120_000,
    deadline: "Failed",
    chart: {
      Booking: { Booked: stay, AllBooked: "Done", Failed: "Cancelling" },
      Cancelling: { Cancelled: stay, AllCancelled: "NotBooked", TookTooLong: "NotBooked" },
      Done: end,
      NotBooked: end,
    },
    data: ({ city, car }) => ({ city, car, bookings: [] as string[], why: "" }),
  },
  {
    Booking: (s) => {
      const booked = (data: { readonly bookings: readonly string[] }, output: { readonly booking: string }) =>
        s.raise("Booked", { bookings: [...data.bookings, output.booking] });
      return s.all(
        {
          flight: s.part(bookFlight, { input: ({ city }) => ({ city }), ok: booked }),
          hotel: s.part(bookHotel, { input: ({ city }) => ({ city }), ok: booked }),
          car: s.part(rentCar, { input: ({ city, car }) => (car ? { city } : null), ok: booked }),
        },
        {
          failed: (_data, _failure, { tag }) => s.raise("Failed", { why: `no ${tag}` }),
          done: "AllBooked",
          drain: true,
        },
      );
    },
    Cancelling: (s) =>
      s.each(cancelBooking, {
        inputs: ({ bookings }) => bookings.map((booking) => ({ booking })),
        settled: "Cancelled",
        done: "AllCancelled",
        after: { TookTooLong: 300_000 },
      }),
    Done: ({ bookings }) => ({ bookings: [...bookings] }),
    NotBooked: ({ why }, s) => s.fail("not-booked", why || "no time left"),
  },
);
