/** The topic of the requests, and that of the answers. */
export const requestTopic = "bench-requests";
export const answerTopic = "bench-answers";
